-- What the account's keys hold, and the time. This and the files after it are one script.
--
-- KEYS[1] is the prefix of all keys of an account, ARGV[1] a message as `_outbox.py` writes it. All
-- times that pass between a process and this script are seconds ago or seconds from now, so that
-- no clock but this server's is ever read.
--
--   meta         what is single: generation, clock, gate, alarm, errand
--   holders      processes by when their lease ends     numbers   the last message of each
--   times        requests by when each counted          flights   requests without an answer: whose
--   passing      polls that do not count                granted:P when priority P had its last turns
--   queue:K:P    who waits, of kind s (submission) or p (poll) and priority P, by arrival
--   lanes:K      those queues by priority               entries   what is known of who waits
--   waits        how many wait of each holder           inbox:H   what holder H is to be told
--   latest:H     when the last of holder H came, by kind and priority
--   slots, ids   running predictions, by slot and by id
--   orphans      slots to be asked for, by when         abandoned slots to be given up, by when

local prefix, message = KEYS[1], cjson.decode(ARGV[1])
local limits, holder = message.limits, message.holder

local function key(name) return prefix .. name end
local function exact(number) return string.format('%.6f', number) end

local meta = {}
do
  local flat = redis.call('HGETALL', key('meta'))
  for i = 1, #flat, 2 do meta[flat[i]] = flat[i + 1] end
end

local function save_meta()
  local flat = {}
  for name, value in pairs(meta) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('DEL', key('meta'))
  redis.call('HSET', key('meta'), unpack(flat))
end

-- The clock goes on evenly where the server's is set back, or another server takes over.
local function tell_time()
  local time = redis.call('TIME')
  local wall = tonumber(time[1]) + tonumber(time[2]) / 1000000
  local offset, last = tonumber(meta.offset or 0), tonumber(meta.last or 0)
  if wall + offset < last then offset = last - wall end
  meta.offset, meta.last = exact(offset), exact(wall + offset)
  return wall + offset
end

local now = tell_time()

local knocked = {}

-- Put something into the inbox of a process, to be read with its next message.
local function deliver(to, letter)
  meta.posted = exact((tonumber(meta.posted) or 0) + 1)
  letter.number = tonumber(meta.posted)
  redis.call('RPUSH', key('inbox:' .. to), cjson.encode(letter))
end

-- The same for what it waits for: it is knocked when this message is answered.
local function post(to, letter)
  deliver(to, letter)
  knocked[to] = true
end
