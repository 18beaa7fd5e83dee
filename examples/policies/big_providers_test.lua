local admit = require "policies.big_providers"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["ten, and the providers without end"] = function(t)
    t.eq(said { active_from_address = 10, lists = { providers = {} } }, "allow")
    t.eq(said { active_from_address = 11, lists = { providers = {} } }, "per-address")
    t.eq(said { active_from_address = 5000, lists = list "providers" }, "allow")
  end,
}
