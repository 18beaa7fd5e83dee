-- On the listener `secure` only clients: others get a page that says so, and are closed (G15).
local admission = require "portreeve.admission"
local rule, rules = admission.rule, admission.rules

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.clients_only("clients", { listener = "secure", answer = "This address is for our clients. Write to post@example.org." }),
}
