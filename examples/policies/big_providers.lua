-- Mailbox providers fetch for thousands of people from a few addresses: those in lists/providers.list may have any number of
-- connections, everybody else ten, whatever listeners.ini says.
local admission = require "portreeve.admission"
local rule, rules = admission.rule, admission.rules

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(10, { except = "providers" }),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
}
