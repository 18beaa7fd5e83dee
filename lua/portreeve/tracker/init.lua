-- The tracker: pictures that count opens, links that count clicks, unsubscribes. It needs nothing but the key ring: no database, no other
-- component. handler(req) -> response[, type, token, class, reasons, wait]: what is to be recorded comes as values, not as a table, since
-- this runs for every pixel. The engine stores the event and, where it must (wait), answers only when it is stored.
local classify = require "portreeve.tracker.classify"
local pages = require "portreeve.tracker.pages"
local response = require "portreeve.response"
local token = require "portreeve.token"
local type = type
local find, gsub, lower, match, sub = string.find, string.gsub, string.lower, string.match, string.sub
local _ENV = nil

local OPEN, CLICK, LINK, UNSUBSCRIBE, TRAP = token.OPEN, token.CLICK, token.LINK, token.UNSUBSCRIBE, token.TRAP
local from_path, lower_level, param = token.from_path, token.lower, token.param
local BODY_MOST = 16384
local DAY_MS = 86400000
local MINUTE_ZERO_MS = 1577836800000

-- The smallest picture there is: 43 bytes, one transparent pixel.
local GIF = "GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff\x21\xf9\4\1\0\0\0\0\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0\x3b"

local LEVELS = { off = 0, blind = 1, anonymous = 2, personal = 3, network = 4 }

-- conf.FILE.Entry.value, where there is such an entry.
local function value_of(conf, file, entry, default)
  local e = conf and conf[file] and conf[file][entry]
  if e == nil or e.value == nil then return default end
  return e.value
end

local function refused(allow)
  return response.fixed { status = 405, body = "This address takes " .. allow .. ".\n",
    headers = { Allow = allow, ["Cache-Control"] = "no-store", ["Content-Type"] = "text/plain; charset=utf-8" } }
end

local function constant()
  local c = pages.constant()
  c.pixel = response.fixed { status = 200, body = GIF,
    headers = { ["Content-Type"] = "image/gif", ["Cache-Control"] = "no-store", ["X-Robots-Tag"] = "noindex" } }
  c.nothing = response.fixed { status = 204, headers = { ["Cache-Control"] = "no-store", ["X-Robots-Tag"] = "noindex" } }
  c.icon = response.fixed { status = 204, headers = { ["Cache-Control"] = "max-age=86400" } }
  c.robots = response.fixed { status = 200, body = "User-agent: *\nDisallow: /\n",
    headers = { ["Content-Type"] = "text/plain; charset=utf-8", ["Cache-Control"] = "max-age=86400" } }
  c.get_only = refused("GET, HEAD")
  c.get_or_post = refused("GET, HEAD, POST")
  return c
end

local function redirect(target)
  return { status = 302,
    headers = { Location = target, ["Cache-Control"] = "no-store", ["X-Robots-Tag"] = "noindex", ["Referrer-Policy"] = "no-referrer" } }
end

-- Value of a field in a multipart/form-data body, or nil. Only what RFC 8058 sends is understood: small text parts.
local function multipart_field(body, content_type, name)
  local boundary = match(content_type, 'boundary="([^"]+)"') or match(content_type, "boundary=([^%s;]+)")
  if not boundary or #boundary > 70 then return nil end
  local at, stop = find(body, "--" .. boundary, 1, true)
  while at do
    local next_at, next_stop = find(body, "--" .. boundary, stop + 1, true)
    if not next_at then return nil end
    local part = sub(body, stop + 1, next_at - 1)
    local head_end, value_at = find(part, "\r\n\r\n", 1, true)
    if head_end then
      local head = lower(sub(part, 1, head_end))
      local its = match(head, 'content%-disposition:[^\r\n]*[;%s]name="([^"]*)"')
        or match(head, "content%-disposition:[^\r\n]*[;%s]name=([^%s;]+)")
      if its == lower(name) then return (gsub(sub(part, value_at + 1), "\r\n$", "")) end
    end
    at, stop = next_at, next_stop
  end
  return nil
end

-- A field of a form as browsers and mail providers post it.
local function form_field(req, name)
  local kind = req:header("content-type") or ""
  if find(lower(kind), "multipart/form-data", 1, true) == 1 then return multipart_field(req.body, kind, name) end
  return param(req.body, name)
end

-- services.links(campaign, link) -> target: the table of short links that the ui pushes.
local function new(conf, services)
  local answer = constant()
  local most = value_of(conf, "portreeve", "TrackingLevel", 3)
  if type(most) == "string" then most = LEVELS[most] end
  local undo_ms = value_of(conf, "tracker", "UndoDays", 30) * DAY_MS
  local links = services and services.links or function() return nil end
  local judge = classify.new {
    early_ms = value_of(conf, "tracker", "EarlyTime", nil), burst_links = value_of(conf, "tracker", "BurstLinks", nil),
    burst_ms = value_of(conf, "tracker", "BurstTime", nil), trap_ms = value_of(conf, "tracker", "TrapTime", nil),
  }

  local judge_of = judge.judge

  -- The event of a verified token; nothing where the level in force forbids it or its key has run out (the verdict is not "ok").
  local function observe(kind, req, tok, verdict)
    if verdict ~= "ok" then return nil end
    return kind, tok, judge_of(req, tok, kind)
  end

  local function gets(req)
    local method = req.method
    return method == "GET" or method == "HEAD"
  end

  local function open(req, tok, verdict)
    if not gets(req) then return answer.get_only end
    if not tok then return answer.pixel end
    return answer.pixel, observe("open", req, tok, verdict)
  end

  local function click_to(req, tok, verdict, target)
    if not tok then return answer.not_found end
    return redirect(target), observe("click", req, tok, verdict)
  end

  local function click(req)
    if not gets(req) then return answer.get_only end
    local target = param(req.query or nil, "u")
    if not target then return answer.not_found end
    local tok, verdict = from_path(req, CLICK, "/trk/c/", "", target, most)
    return click_to(req, tok, verdict, target)
  end

  local function short(req, tok, verdict)
    if not gets(req) then return answer.get_only end
    local target = tok and links(tok.campaign, tok.link)
    if not target or not token.target_ok(target) then return answer.not_found end
    return click_to(req, tok, verdict, target)
  end

  -- Is there still time to take the unsubscribe back? Counted from when the token was made: at sending, or, for the button on the page
  -- after an unsubscribe, at that moment.
  local function undoable(req, tok) return req.now - (tok.minute * 60000 + MINUTE_ZERO_MS) <= undo_ms end

  local function order(kind, req, tok)
    lower_level(tok, most)
    local class, reasons = judge_of(req, tok, kind)
    return kind, tok, class, reasons, true
  end

  -- A link whose key has run out still unsubscribes: that is an order, not an observation.
  local function unsubscribe(req)
    local method, tok = req.method, from_path(req, UNSUBSCRIBE, "/trk/u/", "")
    if method ~= "POST" and not gets(req) then return answer.get_or_post end
    if not tok then return answer.not_found end
    local text = sub(req.path, #"/trk/u/" + 1)
    if method ~= "POST" then return pages.unsubscribe(text) end
    if #req.body > BODY_MOST then return answer.too_large end
    if form_field(req, "undo") == "1" then
      if not undoable(req, tok) then return answer.too_late end
      return pages.resubscribed(text), order("resubscribe", req, tok)
    end
    if lower(form_field(req, "List-Unsubscribe") or "") ~= "one-click" then return answer.not_understood end
    return pages.unsubscribed(undo_ms > 0 and token.renew(tok) or nil), order("unsubscribe", req, tok)
  end

  local function trap(req, tok, verdict)
    if not gets(req) then return answer.get_only end
    if verdict == "ok" then
      judge.trap(req, tok)
      return answer.nothing, observe("trap", req, tok, verdict)
    end
    return answer.nothing
  end

  -- The old product's form: ?ref=TOKEN&, with or without the trailing &.
  local function old_open(req)
    local ref = param(req.query or nil, "ref")
    if not ref then return open(req, nil) end
    return open(req, token.open(OPEN, ref, nil, req.now, most))
  end

  local function old_click(req)
    if not gets(req) then return answer.get_only end
    local query = req.query or nil
    local ref, target = param(query, "ref"), param(query, "u")
    if not ref then return answer.not_found end
    if not target then return short(req, token.open(LINK, ref, nil, req.now, most)) end
    local tok, verdict = token.open(CLICK, ref, target, req.now, most)
    return click_to(req, tok, verdict, target)
  end

  local whole = {
    ["/trk/open"] = old_open,
    ["/trk/click"] = old_click,
    ["/robots.txt"] = function(req) return gets(req) and answer.robots or answer.get_only end,
    ["/favicon.ico"] = function(req) return gets(req) and answer.icon or answer.get_only end,
  }

  return function(req)
    local tok, verdict = from_path(req, OPEN, "/trk/o/", ".gif", nil, most)
    if verdict ~= "path" then return open(req, tok, verdict) end
    if req:starts("/trk/c/") then return click(req) end
    if req:starts("/trk/u/") then return unsubscribe(req) end
    if req:starts("/trk/l/") then return short(req, from_path(req, LINK, "/trk/l/", "", nil, most)) end
    if req:starts("/trk/t/") then return trap(req, from_path(req, TRAP, "/trk/t/", "", nil, most)) end
    local handler = whole[req.path]
    if handler then return handler(req) end
    return answer.not_found
  end
end

return { new = new }
