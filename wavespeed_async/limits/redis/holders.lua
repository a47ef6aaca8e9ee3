-- The processes of the account: their leases, what becomes of the dead, and how a new generation
-- begins when the store is not the one that they knew.

-- Have another one ask for the prediction that a process was to ask for.
local function drop_errand(whose)
  if meta.errand_of ~= whose then return end
  local slot = meta.errand_slot
  meta.errand_slot, meta.errand_of = nil, nil
  local what = slot_of(slot)
  if what then postpone(slot, what, now) end
end

-- Take over from a process: its requests count as given up, its predictions are to be asked for.
local function bury(whose, died)
  for _, flight in ipairs({'flights', 'passing'}) do
    local flat = redis.call('HGETALL', key(flight))
    for i = 1, #flat, 2 do
      local of, passed = string.match(flat[i + 1], '^([^|]+)|(.+)$')
      if of == whose then
        gate_lost(tonumber(passed))
        if flight == 'flights' then count(flat[i], died + limits.grace) end
        redis.call('HDEL', key(flight), flat[i])
      end
    end
  end
  local flat = redis.call('HGETALL', key('slots'))
  for i = 1, #flat, 2 do
    if cjson.decode(flat[i + 1]).keepers[whose] then leave_slot(flat[i], whose, died) end
  end
  drop_errand(whose)
  remove_all_of(whose)
  redis.call('DEL', key('inbox:' .. whose), key('latest:' .. whose))
  redis.call('HDEL', key('numbers'), whose)
  redis.call('HDEL', key('joined'), whose)
  redis.call('ZREM', key('holders'), whose)
  if meta.timekeeper == whose then meta.timekeeper = nil end
end

local function sweep_holders()
  local dead = redis.call('ZRANGEBYSCORE', key('holders'), '-inf', exact(now), 'WITHSCORES')
  for i = 1, #dead, 2 do bury(dead[i], tonumber(dead[i + 1])) end
end

-- A generation's name ends with the time at which it began.
local function began(generation) return tonumber(string.sub(generation, 9)) or 0 end

-- Another server than before may lack what it never heard of, and an empty one lacks everything.
-- What was granted elsewhere leaves within a lease, arrives within `grace` and counts for `per`.
local function check_generation()
  local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local ours, theirs = began(meta.generation or ''), began(message.generation)
  local lags = theirs > ours or (theirs == ours and message.sequence > tonumber(meta.sequence or 0))
  if meta.server == server and not lags then return end
  meta.server = server
  meta.generation = string.sub(server, 1, 8) .. string.format('%.0f', now * 1000000)
  meta.closed_until = exact(now + limits.lease + limits.grace + limits.rules[1][2])
  meta.sequence, meta.tokens, meta.posted, meta.timekeeper = '0', '0', '0', nil
  redis.call('DEL', key('joined'))
  -- Those who are alive have a lease's time to come again; they tell what they know.
  for _, whose in ipairs(redis.call('ZRANGE', key('holders'), 0, -1)) do
    redis.call('ZADD', key('holders'), exact(now + limits.lease), whose)
  end
end

local function is_known()
  return redis.call('HGET', key('joined'), holder) == meta.generation
    and redis.call('ZSCORE', key('holders'), holder)
end

-- Take a process's own word for what it has in flight and running, in place of what is known here.
local function enrol(told)
  local flying, running = {}, {}
  for _, flight in ipairs(told.flights) do flying[flight[1]] = flight end
  for _, slot in ipairs(told.slots) do running[slot[1]] = true end
  local known = redis.call('HGETALL', key('flights'))
  for i = 1, #known, 2 do
    local of = string.match(known[i + 1], '^[^|]+')
    if of == holder and not flying[known[i]] then count(known[i], now) end
  end
  for token, flight in pairs(flying) do
    redis.call('ZREM', key('times'), token)
    redis.call('HSET', key(flight[3] and 'flights' or 'passing'), token, holder .. '|' .. flight[2])
  end
  for _, counted in ipairs(told.times) do
    redis.call('ZADD', key('times'), 'GT', exact(now - counted[2]), counted[1])
  end
  local flat = redis.call('HGETALL', key('slots'))
  for i = 1, #flat, 2 do
    if cjson.decode(flat[i + 1]).keepers[holder] and not running[flat[i]] then free_slot(flat[i]) end
  end
  for _, slot in ipairs(told.slots) do
    local name, id, age, waited, ask_in = slot[1], slot[2], slot[3], slot[4], slot[5]
    local at = resolve(name, id)
    local what = slot_of(at) or take_slot(at, id, nil, now - age)
    what.id = id
    if waited then keep(at, what, holder) else
      what.keepers[holder] = nil
      put_slot(at, what)
      postpone(at, what, now + ask_in)
    end
  end
  drop_errand(holder)
  remove_all_of(holder)
  redis.call('DEL', key('inbox:' .. holder), key('latest:' .. holder))
  redis.call('HSET', key('joined'), holder, meta.generation)
end
