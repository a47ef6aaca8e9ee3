-- The places of running predictions, each held from before its submission until its end is known.
-- A slot is kept by the processes that wait for its prediction. One that nobody waits for is an
-- orphan, to be asked for by whoever next needs a slot; without an id it is given up in the end.

local function slot_of(slot)
  local found = redis.call('HGET', key('slots'), slot)
  return found and cjson.decode(found)
end

local function put_slot(slot, what)
  redis.call('HSET', key('slots'), slot, cjson.encode(what))
  if what.id ~= '' then redis.call('HSET', key('ids'), what.id, slot) end
end

-- Find a slot by its prediction's id where that is known: it may have become another's.
local function resolve(slot, id)
  return id ~= '' and redis.call('HGET', key('ids'), id) or slot
end

local function forget_asking(slot)
  redis.call('ZREM', key('orphans'), slot)
  redis.call('ZREM', key('abandoned'), slot)
end

local function free_slot(slot)
  local what = slot_of(slot)
  if what then
    redis.call('HDEL', key('slots'), slot)
    if what.id ~= '' then redis.call('HDEL', key('ids'), what.id) end
    forget_asking(slot)
  end
  if meta.errand_slot == slot then meta.errand_slot, meta.errand_of = nil, nil end
end

-- See that a slot which nobody keeps is asked for at a time, or given up `abandon_after` later.
local function postpone(slot, what, at)
  if next(what.keepers) then return end
  forget_asking(slot)
  if what.id ~= '' then
    if meta.errand_slot ~= slot then redis.call('ZADD', key('orphans'), exact(at), slot) end
  else
    redis.call('ZADD', key('abandoned'), exact(at + limits.abandon_after), slot)
  end
end

local function keep(slot, what, who)
  what.keepers[who] = 1
  forget_asking(slot)
  put_slot(slot, what)
end

local function take_slot(slot, id, who, since)
  local what = {id = id, since = exact(since), keepers = {}}
  if who then what.keepers[who] = 1 end
  put_slot(slot, what)
  return what
end

local function leave_slot(slot, who, at)
  local what = slot_of(slot)
  if not what then return end
  what.keepers[who] = nil
  put_slot(slot, what)
  postpone(slot, what, at)
end

-- Note what runs in a slot; two slots of one prediction become one.
local function name_slot(slot, id, keeps)
  local known = redis.call('HGET', key('ids'), id)
  if known and known ~= slot then
    free_slot(slot)
    slot = known
  end
  local what = slot_of(slot) or take_slot(slot, id, nil, now)
  what.id = id
  if keeps then
    keep(slot, what, holder)
  else
    put_slot(slot, what)
    postpone(slot, what, now)
  end
end

local function sweep_slots()
  local past = redis.call('ZRANGEBYSCORE', key('abandoned'), '-inf', exact(now))
  for _, slot in ipairs(past) do free_slot(slot) end
end

local function free_slots() return limits.concurrency - redis.call('HLEN', key('slots')) end
