require("portreeve.sim").install()
local duration = require "portreeve.duration"
local kinds = require "portreeve.kinds"

describe("lengths of time", function()
  it("are read as people write them", function()
    local known = { ["90s"] = 90000, ["1h30m"] = 5400000, ["2d"] = 172800000, ["500ms"] = 500, ["1d1ms"] = 86400001, ["10min"] = 600000 }
    for text, ms in pairs(known) do
      assert.equal(ms, duration.ms(text))
    end
    for _, text in ipairs { "", "10", "h", "1m1h", "1h1h", "-1h", "1.5h", "0s", "1 h", "99999999999h", "1x" } do
      assert.is_nil(duration.ms(text), text)
    end
  end)
  it("come back", function()
    for _, ms in ipairs { 1, 999, 1000, 61000, 3600000, 90061001 } do
      assert.equal(ms, duration.ms(duration.text(ms)))
    end
  end)
  it("make rates (G24)", function()
    assert.same({ 100, 10000 }, kinds.rate("100/10s"))
    assert.same({ 5, 60000 }, kinds.rate(" 5 / m "))
    assert.same({ 0, 0 }, kinds.rate("0"))
    for _, text in ipairs { "5", "5/", "/s", "0/s", "1000001/s", "5/25h", "-5/s", "5/0s", "x/s", "5/s/s", "" } do
      local value, why = kinds.rate(text)
      assert.is_nil(value, text)
      assert.truthy(why:find("not a rate", 1, true))
    end
  end)
end)
