-- Robots that say who they are get slow answers, and those that ask for pages they were told not to ask for get none.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("request", function(facts)
    local agent = (facts:header "user-agent" or ""):lower()
    if not agent:find("bot", 1, true) and not agent:find("crawler", 1, true) then return nil end
    if facts.path ~= "/robots.txt" and facts.path:sub(1, 5) ~= "/trk/" then return verdict.refuse("policy", "robot at " .. facts.path) end
    return verdict.tag "robot", verdict.delay(1000)
  end),
}
