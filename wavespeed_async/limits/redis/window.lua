-- The sliding window, as `_window.py` proves it: fewer than `requests` unanswered or answered
-- within the last `per`. Requests in flight are in `flights`, those that have counted in `times`.

redis.call('ZREMRANGEBYSCORE', key('times'), '-inf', exact(now - limits.rules[1][2]))

local function free_requests()
  local free, flying = math.huge, redis.call('HLEN', key('flights'))
  for _, rule in ipairs(limits.rules) do
    local counted = redis.call('ZCOUNT', key('times'), '(' .. exact(now - rule[2]), '+inf')
    free = math.min(free, rule[1] - flying - counted)
  end
  return free
end

-- When a request may be sent if nothing is answered; infinity: an answer must come.
local function next_free(spare)
  local latest, flying = now, redis.call('HLEN', key('flights'))
  for _, rule in ipairs(limits.rules) do
    local room = rule[1] - flying - spare
    if room <= 0 then return math.huge end
    local found = redis.call('ZRANGE', key('times'), -room, -room, 'WITHSCORES')
    if found[2] then latest = math.max(latest, tonumber(found[2]) + rule[2]) end
  end
  return latest
end

-- Note that the API has counted a request `by` then; the earliest such time holds.
local function count(token, by)
  redis.call('HDEL', key('passing'), token)
  if redis.call('HDEL', key('flights'), token) == 1 then
    redis.call('ZADD', key('times'), exact(by), token)
  else
    redis.call('ZADD', key('times'), 'XX', 'LT', exact(by), token)
  end
end

-- Take a request out of the window that provably never left.
local function withdraw(token)
  redis.call('HDEL', key('passing'), token)
  redis.call('HDEL', key('flights'), token)
  redis.call('ZREM', key('times'), token)
end

-- What is kept free for those who are more urgent than a priority, as in `_reserve.py`.
local function kept(priority)
  local sum, recent = 0, '(' .. exact(now - 2 * limits.per)
  for _, other in ipairs(redis.call('ZRANGE', key('priorities'), 0, -1)) do
    if tonumber(other) >= priority then break end
    sum = sum + redis.call('ZCOUNT', key('granted:' .. other), recent, '+inf')
  end
  return math.min(sum, limits.most_kept)
end

local function note_turn(priority, token)
  local name = key('granted:' .. priority)
  redis.call('ZADD', key('priorities'), priority, priority)
  redis.call('ZADD', name, exact(now), token)
  redis.call('ZREMRANGEBYRANK', name, 0, -65)
end
