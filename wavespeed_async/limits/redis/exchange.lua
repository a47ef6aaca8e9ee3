-- One exchange with a process: what it reports and wants, then whose turn it is, then its answer.
--
-- A message has a number. One that comes again, because its answer was lost, changes nothing the
-- second time; its answer is made anew. What a process was granted lies in its inbox until a later
-- message says that it was seen.

local REPORTS = {
  answered = function(token, passed, ago) count(token, now - ago) gate_passed(passed) end,
  limited = function(token, passed, ago, retry_after)
    count(token, now - ago)
    gate_refused(passed, ago, retry_after)
  end,
  lost = function(token, passed, ago) count(token, now - ago + limits.grace) gate_lost(passed) end,
  unsent = function(token, passed) withdraw(token) gate_lost(passed) end,
  held = function(token, _, ago) count(token, now - ago + limits.uplink) end,
}

local CHANGES = {
  name = function(slot, id, keeps) name_slot(slot, id, keeps) end,
  release = function(slot, id) free_slot(resolve(slot, id)) end,
  attend = function(slot, id)
    local at = resolve(slot, id)
    local what = slot_of(at)
    if what then keep(at, what, holder) end
  end,
  leave = function(slot, id, ask_in) leave_slot(resolve(slot, id), holder, now + ask_in) end,
  -- The end of an errand: it still runs, and is to be asked for again later.
  ask = function(slot, id, ask_in)
    local at = resolve(slot, id)
    if meta.errand_slot == at then meta.errand_slot, meta.errand_of = nil, nil end
    local what = slot_of(at)
    if what then postpone(at, what, now + ask_in) end
  end,
}

local function read_message()
  if message.enrols then enrol(message.enrols) end
  for _, report in ipairs(message.reports) do
    REPORTS[report[1]](report[2], report[3], report[4], report[5])
  end
  for _, change in ipairs(message.changes) do
    CHANGES[change[1]](change[2], change[3], change[4])
  end
  for _, news in ipairs(message.news) do
    for _, other in ipairs(redis.call('ZRANGE', key('holders'), 0, -1)) do
      if other ~= holder then deliver(other, {news = news}) end
    end
  end
  for _, entry in ipairs(message.leaves) do
    remove(place(entry[1]), entry[2], entry[3])
  end
  for _, entry in ipairs(message.joins) do
    join(entry[1], entry[2], entry[3], now - entry[4], entry[5], now + entry[6])
  end
end

local TICK = 0.001  -- seconds: alarms that differ by less are the same

-- One process watches the clock for all: who waits itself, if possible, and at the right moment.
local function set_alarm()
  local at, alarm = next_change(), tonumber(meta.alarm) or math.huge
  local waits = redis.call('HEXISTS', key('waits'), holder) == 1
  if at == math.huge then
    meta.timekeeper, meta.alarm = nil, nil
  elseif waits and (not meta.timekeeper or meta.timekeeper == holder
      or at < alarm - TICK or alarm < now) then
    meta.timekeeper, meta.alarm = holder, exact(at)
  elseif meta.timekeeper and meta.timekeeper ~= holder and at >= alarm - TICK and alarm >= now then
    return nil  -- it sleeps until then at the latest
  elseif not waits then
    local head = first_of('s') or first_of('p')
    meta.timekeeper, meta.alarm = head.whose, exact(at)
    knocked[head.whose] = true
  end
  return meta.timekeeper == holder and at ~= math.huge and at - now or nil
end

local function read_inbox()
  local name, letters = key('inbox:' .. holder), {}
  for _, text in ipairs(redis.call('LRANGE', name, 0, -1)) do
    local letter = cjson.decode(text)
    if letter.number <= message.seen then
      redis.call('LPOP', name)
    else
      letters[#letters + 1] = letter
    end
  end
  return letters
end

local function waiting_by_priority()
  local waiting = {}
  for _, priority in ipairs(redis.call('ZRANGE', key('lanes:s'), 0, -1)) do
    local many = redis.call('ZCARD', key('queue:s:' .. priority))
    waiting[#waiting + 1] = {tonumber(priority), many}
  end
  return waiting
end

local function answer(status, fields)
  meta.sequence = string.format('%d', tonumber(meta.sequence or 0) + 1)
  save_meta()
  fields.status, fields.generation, fields.sequence = status, meta.generation, tonumber(meta.sequence)
  return cjson.encode(fields)
end

local function others_hold()
  local all, mine = redis.call('ZCARD', key('holders')), redis.call('ZSCORE', key('holders'), holder)
  return all - (mine and 1 or 0) > 0
end

check_generation()
sweep_holders()
sweep_slots()

if meta.limits ~= message.fingerprint then
  if meta.limits and others_hold() then return answer('limits', {limits = meta.limits}) end
  meta.limits = message.fingerprint
end
if not is_known() and not message.enrols then return answer('enrol', {}) end

if message.number > (tonumber(redis.call('HGET', key('numbers'), holder)) or 0) then
  redis.call('HSET', key('numbers'), holder, message.number)
  redis.call('ZADD', key('holders'), exact(now + limits.lease), holder)
  read_message()
end
if message.closes then
  bury(holder, now)
else
  redis.call('ZADD', key('holders'), exact(now + limits.lease), holder)
end
serve()
local alarm = set_alarm()
local letters = read_inbox()
for whose in pairs(knocked) do
  if whose ~= holder then redis.call('PUBLISH', key('knock:' .. whose), '') end
end
local opens = gate_opens()
return answer('ok', {
  letters = letters,
  alarm = alarm,
  free = math.max(0, free_requests()),
  running = redis.call('HLEN', key('slots')),
  used = redis.call('HLEN', key('flights')) + redis.call('ZCARD', key('times')),
  waiting = waiting_by_priority(),
  pass = tonumber(meta.pass or 0),
  strikes = tonumber(meta.strikes or 0),
  asked = meta.asked == '1',
  opens_in = opens and math.max(0, opens - now) or nil,
  closed = math.max(0, tonumber(meta.closed_until or 0) - now),
})
