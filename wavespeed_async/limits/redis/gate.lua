-- After a 429: one pause for the whole account, then one request as a probe, as in `_gate.py`.

local function gate_opens() return tonumber(meta.opens) end

local function gate_admits()
  local opens = gate_opens()
  return not opens or (meta.probing ~= '1' and now >= opens)
end

local function gate_enter()
  meta.probing = gate_opens() and '1' or '0'
  return tonumber(meta.pass or 0)
end

local function gate_refused(passed, ago, retry_after)
  if passed ~= tonumber(meta.pass or 0) then return end
  local strikes = tonumber(meta.strikes or 0)
  local own = math.min(limits.per, limits.per * limits.first_pause * 2 ^ strikes)
  local asked = retry_after > 0
  local pause = math.min(asked and retry_after or own, limits.per * limits.longest_pause)
  meta.asked = asked and '1' or '0'
  meta.strikes = exact(math.min(strikes + 1, 30))
  meta.pass = exact(passed + 1)
  meta.probing = '0'
  meta.opens = exact(now - ago + pause)
end

local function gate_passed(passed)
  if passed == tonumber(meta.pass or 0) then
    meta.opens, meta.probing, meta.strikes = nil, '0', '0'
  end
end

local function gate_lost(passed)
  if passed == tonumber(meta.pass or 0) then meta.probing = '0' end
end
