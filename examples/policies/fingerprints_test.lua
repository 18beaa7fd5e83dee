local admit = require "policies.fingerprints"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

return {
  ["that program, not others"] = function(t)
    t.eq(said { stage = "hello", ja4 = "t13i190900_9dc949149365_97f8aa674fd9" }, "policy")
    t.eq(said { stage = "hello", ja4 = "t13d1516h2_8daaf6152771_b186095e22b6" }, "allow")
    t.eq(said { stage = "hello" }, "allow")
  end,
}
