local admit = require "policies.hosts"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

return {
  ["with and without a port, in any letters"] = function(t)
    local function at(host) return said { stage = "request", host = host } end
    t.eq({ at "www.example.org", at "WWW.example.org:8080", at "evil.example", at(nil) }, { "allow", "allow", "policy", "policy" })
  end,
}
