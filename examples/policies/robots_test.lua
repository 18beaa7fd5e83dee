local admit = require "policies.robots"
local fake = require "portreeve.fake"

return {
  ["robots wait, or go"] = function(t)
    local function at(agent, path)
      local v, more = admit(fake.facts { stage = "request", path = path, headers = { ["user-agent"] = agent } })
      return v == "allow" and more.delay or v.refuse
    end
    t.eq({ at("Mozilla/5.0", "/hub/"), at("FooBot/1", "/robots.txt"), at("FooBot/1", "/hub/") }, { 0, 1000, "policy" })
  end,
}
