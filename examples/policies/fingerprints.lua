-- Programs that pretend to be browsers are betrayed by their TLS: JA4 fingerprints that are refused. The list is yours; what calls you
-- is in `connections()` and in the decisions.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local unwanted = { ["t13i190900_9dc949149365_97f8aa674fd9"] = "sneaky-bot" }

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("hello", function(facts)
    local what = facts.ja4 and unwanted[facts.ja4]
    if what then return verdict.refuse("policy", what .. " " .. facts.ja4) end
  end),
}
