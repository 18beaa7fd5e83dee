local admit = require "policies.only_tracker"
local fake = require "portreeve.fake"

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["strangers keep the tracker"] = function(t)
    local _, more = admit(fake.facts { lists = { office = {} } })
    t.eq(more.only, { tracker = true })
    _, more = admit(fake.facts { lists = list "office" })
    t.eq(more.only, nil)
  end,
}
