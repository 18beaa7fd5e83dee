local admit = require "policies.maintenance"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["everybody reads it but the office"] = function(t)
    local v = admit(fake.facts { lists = { office = {} } })
    t.eq({ v.how, v.status, v.text }, { "answer", 503, "We are back at six o'clock." })
    t.eq(said { lists = list "office" }, "allow")
    t.eq(said { lists = { office = {}, denied = list "denied".denied } }, "denied")
  end,
}
