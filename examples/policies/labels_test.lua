local admit = require "policies.labels"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["where the label says so, partners only"] = function(t)
    local none = { partners = {} }
    t.eq(said { label = { partners = "yes" }, lists = none }, "restriction")
    t.eq(said { label = { partners = "yes" }, lists = list "partners" }, "allow")
    t.eq(said { lists = none }, "allow")
  end,
}
