-- Who comes in: admit(facts) -> verdict. Runs for every connection right after accept, before any byte is read or sent.
-- A refused caller sees the connection closed, nothing else (G14); `portreeve eval 'refusals()'` tells the reason.
--
-- facts (ARCHITECTURE.md has them all):
--   facts.address              the caller, as text
--   facts:listed("NAME")       "file:line" where lists/NAME.list has the caller, else nil
--   facts.active               connections of this listener     facts.maximum      MaxConnections of listeners.ini, 0 = no limit
--   facts.active_from_address  … of this caller (IPv6: its /64) facts.per_address  MaxPerAddress, 0 = no limit
--   facts.reserve              places kept for lists/clients.list
--   facts.restriction          "none" "grant" "deny", with facts.list
-- Both counts include the connection that is being judged.
--
-- To close a door of your own, add lines such as these (and a test to admission_test.lua):
--   if facts.listener == "secure" and facts:listed("partners") == nil then return refuse("policy", "partners only") end
local verdict = require "portreeve.verdict"
local allow, refuse = verdict.allow, verdict.refuse

return function(facts)
  -- The denied list comes before everything (G10).
  local line = facts:listed("denied")
  if line then return refuse("denied", line) end

  -- Restriction of the listener: grant = only those in its list, deny = all but those (G11, G12).
  local restriction = facts.restriction
  if restriction == "grant" then
    if not facts:listed(facts.list) then return refuse("restriction", facts:spoken(facts.list) or "not in list " .. facts.list) end
  elseif restriction == "deny" then
    line = facts:listed(facts.list)
    if line then return refuse("restriction", line) end
  end

  -- Connections of one caller (G24).
  local per_address = facts.per_address
  if per_address > 0 and facts.active_from_address > per_address then
    return refuse("per-address", "MaxPerAddress=" .. per_address .. " of listener " .. facts.listener)
  end

  -- All connections of the listener (G27), the last places being kept for clients: with as many places free as are reserved, or fewer,
  -- only clients come in (G26).
  local maximum = facts.maximum
  if maximum > 0 then
    local others = facts.active - 1
    if others >= maximum then return refuse("maximum", "MaxConnections=" .. maximum .. " of listener " .. facts.listener) end
    local reserve = facts.reserve
    if reserve > 0 and maximum - others <= reserve and not facts:listed("clients") then
      return refuse("reserve", "Reserve=" .. reserve .. " of listener " .. facts.listener)
    end
  end
  return allow
end
