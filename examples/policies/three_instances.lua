-- Three listeners with rules of their own (Q14): `mx` takes everybody but is strict with strangers, `submission` clients only, `bounce`
-- only our own relays. Each rule names its listener.
local admission = require "portreeve.admission"
local rule, rules = admission.rule, admission.rules

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.per_address(3, { listener = "mx", except = "clients" }),
  rule.delay(2000, { listener = "mx", except = "clients" }),
  rule.only_listed("clients", { listener = "submission" }),
  rule.only_listed("relays", { listener = "bounce", reset = true }),
  rule.maximum(),
  rule.rates(),
}
