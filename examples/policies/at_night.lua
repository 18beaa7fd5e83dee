-- From 22 to 6 o'clock (UTC) only clients come in. A rule is a function of the facts, and the time is one of them.
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
    local hour = facts.now // 3600000 % 24
    if (hour >= 22 or hour < 6) and not facts:listed "clients" then return verdict.refuse("policy", "clients only from 22 to 6") end
  end),
}
