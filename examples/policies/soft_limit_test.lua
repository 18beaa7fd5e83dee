local admit = require "policies.soft_limit"
local fake = require "portreeve.fake"

return {
  ["slower and slower, then no"] = function(t)
    local function delay(n)
      local v, more = admit(fake.facts { per_address = 10, active_from_address = n })
      return v == "allow" and more.delay or v.refuse
    end
    t.eq({ delay(5), delay(6), delay(10), delay(11) }, { 0, 100, 500, "per-address" })
  end,
}
