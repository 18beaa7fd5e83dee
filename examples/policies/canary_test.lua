local admit = require "policies.canary"
local fake = require "portreeve.fake"

return {
  ["about one in ten, and always the same"] = function(t)
    local function tagged(i)
      local _, more = admit(fake.facts { address = ("198.51.100.%d"):format(i) })
      return #more.tags
    end
    local n = 0
    for i = 0, 255 do
      n = n + tagged(i)
      t.eq(tagged(i), tagged(i))
    end
    t.ok(n > 5 and n < 60, n .. " of 256")
  end,
}
