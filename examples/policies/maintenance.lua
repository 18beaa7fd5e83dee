-- While something is being repaired: a page for everybody but the office. Who is denied gets no page.
local admission = require "portreeve.admission"
local rule, rules = admission.rule, admission.rules

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.refuse { except = "office", status = 503, answer = "We are back at six o'clock." },
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
}
