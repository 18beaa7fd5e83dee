local admit = require "policies.clients_only"
local fake = require "portreeve.fake"

local function said(facts)
  local v = admit(fake.facts(facts))
  return v == "allow" and v or v.refuse
end

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["strangers get the page on that listener, and come in on others"] = function(t)
    local v = admit(fake.facts { listener = "secure" })
    t.eq({ v.refuse, v.how, v.status }, { "clients", "answer", 403 })
    t.eq(said { listener = "http" }, "allow")
    t.eq(said { listener = "secure", lists = list "clients" }, "allow")
  end,
}
