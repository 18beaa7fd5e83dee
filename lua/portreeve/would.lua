-- What would become of a caller, in words: text(document) -> text, words(answer) -> the same without a newline at its end.
-- The answer is what src/engine/would.c says, the document the same as JSON.
local cjson = require "cjson"
local show = require "portreeve.console.show"
local ipairs = ipairs
local concat = table.concat
local format = string.format
local _ENV = nil

local outcomes = { allow = "would be let in", refuse = "would be refused without a word", reset = "would be refused with a reset",
                   answer = "would be answered and closed" }
local stages = {
  peer = "when he calls (peer)", hello = "at his TLS greeting (hello)", identity = "after the TLS handshake (identity)",
  request = "at his request",
}

local function headline(answer, d)
  local out = format("%s at listener %s (%s) %s", d.address, d.listener, answer.socket, outcomes[d.verdict] or d.verdict)
  if d.status then out = out .. format(" with %d", d.status) end
  if d.reason then out = out .. format(": %s", d.reason) end
  return out .. (answer.generation > 0 and format("  [generation %d]", answer.generation) or "  [files that are not in force]")
end

local function changes(r)
  local out = {}
  if r.tag then out[#out + 1] = "tag " .. r.tag end
  if r.only then out[#out + 1] = "only " .. (r.only == "" and "nothing" or r.only) end
  if r.delay_ms then out[#out + 1] = format("delay %d ms", r.delay_ms) end
  return concat(out, ", ")
end

local function rule(r)
  local said = r.says == "nothing" and (changes(r) ~= "" and changes(r) or "nothing to say") or r.says
  local name = r.rule == "lua" and "a function" or r.rule .. (r.about and " " .. r.about or "")
  local out = format("    %-28s %-15s %s", name, said, r.policy or "")
  if r.because then out = out .. "  " .. r.because end
  return show.clean(out)
end

local function left(l)
  local out = { format("connections now: %d of the listener", l.active) }
  if l.maximum then
    local reserve = l.reserve and format(", the last %d for clients", l.reserve) or ""
    out[1] = out[1] .. format(" (MaxConnections %d: %d left%s)", l.maximum, l.places, reserve)
  end
  out[2] = format("%d of this address", l.active_from_address)
  if l.per_address then out[2] = out[2] .. format(" (MaxPerAddress %d: %d left)", l.per_address, l.places_of_address) end
  for _, r in ipairs(l.rates or {}) do
    local span = r.ms % 1000 == 0 and format("%ds", r.ms // 1000) or format("%dms", r.ms)
    out[#out + 1] = format("%d left of %s=%d/%s", r.left, r.entry, r.n, span)
  end
  return concat(out, ", ")
end

local function words(answer)
  local d = answer.decision
  local out = { headline(answer, d) }
  local several = answer.sockets or 1 -- an engine of before the last upgrade does not say
  if several > 1 then out[2] = format("  the first of %d sockets that fit: --port and --local choose", several) end
  local by = d.list or d.entry
  local because = d.because and d.because ~= by and ": " .. d.because or ""
  local place = d.policy and d.policy .. (by and ", " .. by or "") or by
  if place then out[#out + 1] = "  by " .. show.clean(place .. because) end
  for _, s in ipairs(answer.stages) do
    out[#out + 1] = "  " .. (stages[s.stage] or s.stage) .. (s.rules[1] and ":" or ": no rules")
    for _, r in ipairs(s.rules) do
      out[#out + 1] = rule(r)
    end
  end
  if answer["in"] and answer.delay_ms > 0 then out[#out + 1] = format("  he would wait %d ms", answer.delay_ms) end
  if answer["in"] then out[#out + 1] = "  open to him: " .. (answer.services == "" and "nothing" or answer.services) end
  out[#out + 1] = "  " .. left(answer.left)
  return concat(out, "\n")
end

local function text(document)
  return words(cjson.decode(document)) .. "\n"
end

return { text = text, words = words }
