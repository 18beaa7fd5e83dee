-- One caller in ten is given the tag `canary`, always the same ones: route.lua may send them another way (req:tagged "canary").
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
  rule.at("peer", function(facts)
    local sum = 0
    for i = 1, #facts.address do sum = (sum * 31 + facts.address:byte(i)) % 1000003 end
    if sum % 10 == 0 then return verdict.tag "canary" end
  end),
}
