local admit = require "policies.hidden_pages"
local fake = require "portreeve.fake"

local function list(name, address) return { [name] = { [address or "192.0.2.1"] = "conf/lists/" .. name .. ".list:1" } } end

return {
  ["the office sees them"] = function(t)
    local function at(path, lists)
      local facts = fake.facts { lists = lists }
      t.eq(admit(facts), "allow")
      local v = admit(fake.at(facts, "request", { path = path }))
      return v == "allow" and v or v.status
    end
    local outside, inside = { office = {} }, list "office"
    t.eq({ at("/hub/", outside), at("/lui", outside), at("/trk/o/x", outside) }, { 404, 404, "allow" })
    t.eq({ at("/hub/", inside), at("/lui", inside) }, { "allow", "allow" })
  end,
}
