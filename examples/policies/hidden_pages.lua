-- /hub and /lui do not exist for people outside: 404, before a password could be tried. The tag is given once a connection, the request
-- rule only looks at it.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local hidden = { ["/hub"] = true, ["/lui"] = true }

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.tag("office", { listed = "office" }),
  rule.at("request", function(facts)
    local path = facts.path
    if facts:tagged "office" then return nil end
    if hidden[path:sub(1, 4)] then return verdict.answer(404, "There is nothing here.", "hidden: " .. path) end
  end),
}
