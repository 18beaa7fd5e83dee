local admit = require "policies.three_instances"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["each listener its own"] = function(t)
    local nobody = { relays = {} }
    t.eq(said { listener = "mx", active_from_address = 4, lists = nobody }, "per-address")
    t.eq(said { listener = "submission", lists = nobody }, "restriction")
    t.eq(said { listener = "bounce", lists = list "relays" }, "allow")
    local v = admit(fake.facts { listener = "bounce", lists = nobody })
    t.eq(v.how, "reset")
    local _, more = admit(fake.facts { listener = "mx", lists = nobody })
    t.eq(more.delay, 2000, "who must wait two seconds for the banner is seldom a robot")
  end,
}
