local admit = require "policies.known_names"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

return {
  ["ours come in"] = function(t)
    t.eq(said { stage = "hello", sni = "www.example.org" }, "allow")
    t.eq(said { stage = "hello", sni = "example.com" }, "policy")
    t.eq(said { stage = "hello" }, "policy")
    t.eq(said {}, "allow", "nothing is known of names at peer")
  end,
}
