local admit = require "policies.at_night"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["the night begins at 22 and ends at 6"] = function(t)
    local function at(hour) return said { now = 1700000000000 // 86400000 * 86400000 + hour * 3600000 } end
    t.eq({ at(21), at(22), at(0), at(5), at(6) }, { "allow", "policy", "policy", "policy", "allow" })
    t.eq(said { now = 0, lists = list "clients" }, "allow")
  end,
}
