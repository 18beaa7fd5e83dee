-- Before callers are refused they are slowed down: from half of MaxPerAddress on, each further connection waits longer.
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
    local over = facts.active_from_address - facts.per_address // 2
    if facts.per_address > 0 and over > 0 then return verdict.delay(over < 100 and over * 100 or 10000) end
  end),
}
