-- One rule for many listeners: what a listener wants stands in listeners.ini as labels, NAME.Label-partners=yes, and nowhere else.
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
    if facts.label.partners == "yes" and not facts:listed "partners" then
      return verdict.refuse("restriction", facts:spoken "partners" or "partners only")
    end
  end),
}
