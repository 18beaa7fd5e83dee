--- Does the tracker answer at an address that mails are given (M43)? A link of level "off" is made and fetched: nothing is recorded, and
-- only a tracker with this installation's keys answers it with the redirect it was signed for, so the answer says who is there.
local http = require "portreeve.http"
local static = require "portreeve.web.static"
local sys = require "portreeve.sys"
local token = require "portreeve.token"
local pcall, tostring = pcall, tostring
local _ENV = nil

local function escaped(text)
  return (text:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function stranger(reply)
  local server = (reply.headers.server or ""):gsub("[%c]", " "):sub(1, 80)
  return ("something else answered: status %d%s%s. A tracker of this installation would have sent the visitor on."):format(reply.status,
    server ~= "" and ", Server: " .. server or ", it does not say what it is",
    reply.status == 404 and " (a tracker with other keys answers so, too)" or "")
end

-- base: "https://news.example.org" -> { ok =, text =, ms =, url = }
local function ask(base)
  local target = "https://self-test.invalid/" .. static.hex(sys.random(8))
  local called, text, why = pcall(token.seal, { kind = "click", level = "off", target = target })
  if not called or not text then
    return { ok = false, text = "no link can be made here: " .. tostring(called and why or text), url = base }
  end
  local url = ("%s/trk/c/%s?u=%s"):format(base, text, escaped(target))
  local began = sys.mono_ms()
  local reply, fault = http.call { url = url, connect_ms = 4000, total_ms = 8000, max_reply = 65536 }
  local out = { ms = sys.mono_ms() - began, url = url }
  if not reply then
    out.text = "nobody answered: " .. tostring(fault)
  elseif reply.status == 302 and reply.headers.location == target then
    out.ok, out.text = true, "the tracker of this installation answered: it knows our keys."
  else
    out.text = stranger(reply)
  end
  return out
end

return { ask = ask }
