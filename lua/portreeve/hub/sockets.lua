--- How a socket of the engine's status looks on a page: its state, who admits, which rule made it.
local html = require "portreeve.web.html"
local layout = require "portreeve.web.layout"
local tointeger, tonumber, tostring, type = math.tointeger, tonumber, tostring, type
local h = html.tag
local _ENV = nil

local function whole(v)
  return tointeger(tonumber(v))
end

local function because(b)
  if type(b) ~= "table" then
    return "–"
  end
  local line = whole(b.line) or 0
  local place = (b.file or "") == "" and "built-in default" or b.file .. (line > 0 and ":" .. line or "")
  local row, entry, policy = b.row or "", b.entry or "", b.policy or ""
  return { row ~= "" and h.span { class = "rule", "Rule ", row }, h.code { place },
    entry ~= "" and { " ", h.span { class = "entry", entry } }, policy ~= "" and h.span { class = "hint block", policy } }
end

local function restriction(l)
  if not l.restriction or l.restriction == "none" then
    return "–"
  end
  return { l.restriction == "grant" and "only " or "all but ", h.code { l.list or "" } }
end

local function scheme(l)
  if l.external_tls then
    return { "HTTP", h.span { class = "hint block", "TLS in front" } }
  end
  return { tostring(l.scheme or "http"):upper(), (l.certificate or "") ~= "" and h.span { class = "hint block", l.certificate } or nil }
end

-- What the self-probe found (plan/proof.h).
local proofs = { proved = { "good", "Proved" }, failed = { "bad", "Not proved" }, probing = { "quiet", "Being probed" } }

local function probe(l)
  local kind = proofs[l.probe or ""]
  return kind and { " ", layout.badge(kind[1], kind[2]),
    l.probe == "failed" and (l.probe_text or "") ~= "" and h.span { class = "hint block", l.probe_text } }
end

-- bound, waiting for an address, …
local function state(l)
  local text = tostring(l.state or "")
  if l.waiting == true or text:find("^waiting") then
    return { layout.badge("warn", "Waiting"), " ", text }
  end
  return { text, probe(l) }
end

return { because = because, restriction = restriction, scheme = scheme, state = state, whole = whole }
