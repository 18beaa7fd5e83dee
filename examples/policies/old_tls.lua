-- Who comes with TLS 1.2 reaches the tracker only: old mail programs must be able to show a picture, but nobody signs in over it.
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
  rule.at("identity", function(facts)
    if facts.tls == "TLSv1.2" then return verdict.tag "old-tls", verdict.only "tracker" end
  end),
}
