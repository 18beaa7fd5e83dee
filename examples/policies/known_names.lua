-- Scanners call addresses, people call names: TLS for a name that is none of ours gets no answer, not even an alert.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local names = { ["www.example.org"] = true, ["mail.example.org"] = true }

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("hello", function(facts)
    if facts.sni == nil then return verdict.refuse("policy", "no name asked for") end
    if not names[facts.sni] then return verdict.reset("policy", "not our name: " .. facts.sni) end
  end),
}
