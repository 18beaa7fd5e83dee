-- Pages of hub and ui exist for the office only: for everybody else the socket carries the tracker alone, as if the others were not
-- installed (404). Nothing is refused.
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
  rule.only("tracker", { except = "office" }),
}
