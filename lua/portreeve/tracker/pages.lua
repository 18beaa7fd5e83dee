-- What people see of the tracker: plain pages without script, cookie or picture, the same for a telephone.
local response = require "portreeve.response"
local gsub, pairs = string.gsub, pairs
local _ENV = nil

local STYLE = [[
body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;background:#f5f3ee;color:#22262b}
main{max-width:34rem;margin:12vh auto;padding:2rem;background:#fff;border-radius:.6rem;box-shadow:0 1px 4px #0002}
h1{font-size:1.4rem;margin:0 0 1rem}p{margin:0 0 1.2rem}
button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1f4f7a;color:#fff;cursor:pointer}
button.plain{background:#fff;color:#1f4f7a;box-shadow:inset 0 0 0 1px #1f4f7a}
button:focus-visible{outline:3px solid #e0a526;outline-offset:2px}
@media(max-width:40rem){main{margin:0;min-height:100vh;border-radius:0;box-sizing:border-box}}
@media(prefers-color-scheme:dark){body{background:#16191d;color:#e6e6e6}main{background:#20242a}
button.plain{background:none;color:#9cc3e6;box-shadow:inset 0 0 0 1px #9cc3e6}}
]]

local HEADERS = {
  ["Content-Type"] = "text/html; charset=utf-8",
  ["Cache-Control"] = "no-store",
  ["X-Robots-Tag"] = "noindex",
  ["Referrer-Policy"] = "no-referrer",
  ["X-Content-Type-Options"] = "nosniff",
  ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
    .. "base-uri 'none'",
}

local pages = {}

local function document(title, body)
  return '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    .. '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex"><title>' .. title
    .. "</title><style>" .. STYLE .. "</style></head><body><main><h1>" .. title .. "</h1>\n" .. body .. "\n</main></body></html>\n"
end

-- Text of a token is [A-Za-z0-9_-]; what else came is not put into a page.
local function action(token) return "/trk/u/" .. gsub(token, "[^%w_-]", "") end

local function button(token, field, label, class)
  return "<form method=\"post\" action=\"" .. action(token) .. "\"><input type=\"hidden\" name=\"" .. field[1] .. "\" value=\"" .. field[2]
    .. "\"><button" .. (class and " class=\"" .. class .. "\"" or "") .. ">" .. label .. "</button></form>"
end

local ONE_CLICK = { "List-Unsubscribe", "One-Click" }

-- Asked by GET: nothing has changed yet.
function pages.unsubscribe(token)
  return { status = 200, headers = HEADERS, body = document("Unsubscribe",
    "<p>You will get no further messages of this kind. Press the button to unsubscribe.</p>\n" .. button(token, ONE_CLICK, "Unsubscribe")) }
end

-- undo: text of a token, or nil where it is too late for that.
function pages.unsubscribed(undo)
  return { status = 200, headers = HEADERS, body = document("You are unsubscribed",
    "<p>You will get no further messages of this kind.</p>\n"
    .. (undo and "<p>Was that a mistake?</p>\n" .. button(undo, { "undo", "1" }, "Subscribe again", "plain") or "")) }
end

function pages.resubscribed(token)
  return { status = 200, headers = HEADERS, body = document("You are subscribed again",
    "<p>Messages of this kind will go on reaching you.</p>\n" .. button(token, ONE_CLICK, "Unsubscribe", "plain")) }
end

local function fixed(status, title, text, extra)
  local headers = extra or {}
  for name, value in pairs(HEADERS) do
    headers[name] = value
  end
  return response.fixed { status = status, headers = headers, body = document(title, "<p>" .. text .. "</p>") }
end

-- The constant ones, made once a worker.
function pages.constant()
  return {
    not_found = fixed(404, "This link does not work",
      "It may be incomplete, for example because the mail program broke it over two lines. Please copy the whole link."),
    not_understood = fixed(400, "This was not understood", "The request is not one that a mail program or our own page makes."),
    too_large = fixed(413, "This was not understood", "The request is larger than any that belongs here."),
    too_late = fixed(410, "It is too late for that",
      "You are unsubscribed. To get messages again, please subscribe anew where you first did."),
  }
end

return pages
