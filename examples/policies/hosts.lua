-- Requests for hosts that are none of ours get 421, so that nobody can put his name before our pages.
local admission = require "portreeve.admission"
local rule, rules, verdict = admission.rule, admission.rules, admission.verdict

local hosts = { ["www.example.org"] = true, ["localhost"] = true }

return rules {
  rule.refuse_listed "denied",
  rule.banned(),
  rule.restriction(),
  rule.per_address(),
  rule.maximum(),
  rule.reserve "clients",
  rule.rates(),
  rule.at("request", function(facts)
    local host = facts.host and facts.host:lower():gsub(":%d+$", "")
    if not hosts[host or ""] then return verdict.answer(421, "There is no such host here.", "host " .. (facts.host or "missing")) end
  end),
}
