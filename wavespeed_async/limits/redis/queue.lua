-- Who waits, and whose turn it is, as in `_limiter.py`: the lower priority first; within one,
-- submissions before polls until a poll is overdue, then in turns; of each kind first come first
-- served, whichever process it is.

local KINDS = {'s', 'p'}

local BEFORE_ALL = 1e8  -- seconds: nobody has waited as long, who comes earlier goes before others

-- Of one process's callers none comes before an earlier one, although a letter that took longer on
-- its way than the next makes its callers' arrivals look later; nor does one of the same moment.
local function in_turn(kind, priority, arrived)
  if now - arrived >= BEFORE_ALL then return arrived end
  local name, lane = key('latest:' .. holder), kind .. priority
  local latest = tonumber(redis.call('HGET', name, lane)) or -math.huge
  if arrived < latest then return latest end
  redis.call('HSET', name, lane, exact(arrived))
  return arrived
end

local function place(entry) return holder .. ':' .. string.format('%012d', entry) end

local function join(entry, kind, priority, came, counts, overdue)
  local member, arrived = place(entry), in_turn(kind, priority, came)
  redis.call('ZADD', key('queue:' .. kind .. ':' .. priority), exact(arrived), member)
  redis.call('ZADD', key('lanes:' .. kind), priority, priority)
  redis.call('HSET', key('entries'), member, counts .. '|' .. exact(overdue))
  redis.call('HINCRBY', key('waits'), holder, 1)
end

local function remove(member, kind, priority)
  local lane = key('queue:' .. kind .. ':' .. priority)
  if redis.call('ZREM', lane, member) == 0 then return end
  redis.call('HDEL', key('entries'), member)
  if redis.call('EXISTS', lane) == 0 then redis.call('ZREM', key('lanes:' .. kind), priority) end
  local whose = string.match(member, '^[^:]+')
  if redis.call('HINCRBY', key('waits'), whose, -1) <= 0 then
    redis.call('HDEL', key('waits'), whose)
  end
end

local function remove_all_of(whose)
  for _, kind in ipairs(KINDS) do
    for _, priority in ipairs(redis.call('ZRANGE', key('lanes:' .. kind), 0, -1)) do
      local lane = key('queue:' .. kind .. ':' .. priority)
      for _, member in ipairs(redis.call('ZRANGE', lane, 0, -1)) do
        if string.match(member, '^[^:]+') == whose then remove(member, kind, priority) end
      end
    end
  end
end

local function first_of(kind)
  local priority = redis.call('ZRANGE', key('lanes:' .. kind), 0, 0)[1]
  if not priority then return nil end
  local member = redis.call('ZRANGE', key('queue:' .. kind .. ':' .. priority), 0, 0)[1]
  local known = redis.call('HGET', key('entries'), member)
  local counts, overdue = string.match(known, '^(%d)|(.+)$')
  return {
    member = member, kind = kind, priority = tonumber(priority), lane = priority,
    counts = counts == '1', overdue = now >= tonumber(overdue),
    whose = string.match(member, '^[^:]+'), entry = tonumber(string.match(member, ':(%d+)$')),
  }
end

local function poll_goes_first(submission, poll)
  if submission.priority ~= poll.priority then return poll.priority < submission.priority end
  return poll.overdue and meta.poll_was_last ~= '1'
end

local function has_room(waiter, free)
  return not waiter.counts or free - kept(waiter.priority) > 0
end

-- Choose who is served now.
local function next_turn(free)
  if now < tonumber(meta.closed_until or 0) or not gate_admits() then return nil end
  local submission = free_slots() > 0 and first_of('s') or nil
  local poll = first_of('p')
  local first, second = submission or poll, submission and poll
  if submission and poll and poll_goes_first(submission, poll) then
    first, second = poll, submission
  end
  if first and has_room(first, free) then return first end
  if second and has_room(second, free) then return second end
  return nil
end

local function grant(waiter)
  remove(waiter.member, waiter.kind, waiter.lane)
  meta.tokens = exact((tonumber(meta.tokens) or 0) + 1)
  local token = meta.generation .. '-' .. string.format('%d', tonumber(meta.tokens))
  local slot, passed = '', gate_enter()
  if waiter.kind == 's' then
    slot = token
    take_slot(slot, '', waiter.whose, now)
  end
  local flight = waiter.counts and 'flights' or 'passing'
  redis.call('HSET', key(flight), token, waiter.whose .. '|' .. passed)
  note_turn(waiter.lane, token)
  meta.poll_was_last = waiter.kind == 'p' and '1' or '0'
  post(waiter.whose, {grant = waiter.entry, token = token, passed = passed, slot = slot})
end

-- Have the first who lacks a slot ask for a prediction that nobody waits for; one at a time.
local function send_errand()
  if meta.errand_slot or free_slots() > 0 then return end
  local waiter = first_of('s')
  local slot = redis.call('ZRANGEBYSCORE', key('orphans'), '-inf', exact(now), 'LIMIT', 0, 1)[1]
  if not waiter or not slot then return end
  local what = slot_of(slot)
  redis.call('ZREM', key('orphans'), slot)
  meta.errand_slot, meta.errand_of = slot, waiter.whose
  local age = now - tonumber(what.since)
  post(waiter.whose, {errand = waiter.entry, slot = slot, id = what.id, age = age})
end

local function serve()
  local free = free_requests()
  local waiter = next_turn(free)
  while waiter do
    grant(waiter)
    if waiter.counts then free = free - 1 end
    waiter = next_turn(free)
  end
  send_errand()
end

local function first_time_of(name)
  local found = redis.call('ZRANGE', key(name), 0, 0, 'WITHSCORES')
  return tonumber(found[2]) or math.huge
end

local function time_of_room(waiter)
  local spare = kept(waiter.priority)
  local at = waiter.counts and next_free(spare) or math.huge
  return spare > 0 and math.min(at, now + limits.per * limits.recall) or at
end

-- When the clock alone will change something for those who wait.
local function next_change()
  local submission, poll = first_of('s'), first_of('p')
  if not submission and not poll then return math.huge end
  local closed = tonumber(meta.closed_until or 0)
  if now < closed then return closed end
  local at, opens = math.huge, gate_opens()
  if opens and opens > now then at = opens end
  if submission and free_slots() <= 0 then
    at = math.min(at, first_time_of('abandoned'))
    if not meta.errand_slot then at = math.min(at, first_time_of('orphans')) end
    submission = nil
  end
  if gate_admits() then
    if submission then at = math.min(at, time_of_room(submission)) end
    if poll then at = math.min(at, time_of_room(poll)) end
  end
  return at
end
