-- The tracker's handler and classifier with a key ring that is a table: every route, every refusal, what is recorded and what is not.
-- A token here is text "KIND.campaign.recipient.link.level.minute", for clicks with "!target" behind; "x…" has an expired key.
package.path = "lua/?.lua;lua/?/init.lua;" .. package.path

local NOW = 1790000000000
local MINUTE = (NOW - 1577836800000) // 60000 - 60 -- sent an hour ago
local KINDS = { open = 1, click = 2, link = 3, unsubscribe = 4, trap = 5 }
local GIF_BYTES = 43

local verified = 0
local function read_token(kind, text, target)
  verified = verified + 1
  local expired = text:sub(1, 1) == "x"
  local k, c, r, l, level, m = text:gsub("^x", ""):match("^(%d+)%.(%d+)%.(%d+)%.(%d+)%.(%d+)%.(%d+)")
  if tonumber(k) ~= kind or (target and "!" .. target or "") ~= (text:match("!.*$") or "") then return nil, "bad" end
  local t = { kind = tonumber(k), campaign = tonumber(c), recipient = tonumber(r), link = tonumber(l), level = tonumber(level) }
  t.minute, t.flags = tonumber(m), 0
  return t, expired and "expired" or "ok"
end

local token = { OPEN = 1, CLICK = 2, LINK = 3, UNSUBSCRIBE = 4, TRAP = 5 }
local function lowered(t, verdict, most)
  if not t then return nil, verdict end
  t.level = math.min(t.level, most or 4)
  return t, verdict == "ok" and t.level == 0 and "off" or verdict
end
function token.open(kind, text, target, _, most)
  local t, verdict = read_token(kind, text, target)
  return lowered(t, verdict, most)
end
function token.from_path(req, kind, prefix, suffix, target, most)
  local path = req.path
  local fits = #path >= #prefix + #suffix and path:sub(1, #prefix) == prefix and path:sub(#path - #suffix + 1) == suffix
  if not fits then return nil, "path" end
  local t, verdict = read_token(kind, (path:sub(#prefix + 1, #path - #suffix):gsub("~", "!")), target)
  return lowered(t, verdict, most)
end
function token.signals(req, tok, early_ms)
  local reasons, agent = 0, req.headers["user-agent"]
  for _, name in ipairs { "purpose", "sec-purpose", "x-purpose", "x-moz" } do
    if req.headers[name] then reasons = reasons | 4 end
  end
  if req.method == "HEAD" then reasons = reasons | 64 end
  if req.now - (tok.minute * 60000 + 1577836800000) < early_ms then reasons = reasons | 2 end
  if not agent or agent == "" then return reasons | 16 end
  return reasons, agent
end
function token.lower(t, most)
  t.level = math.min(t.level, most)
  return t.level
end
function token.renew(t) return "renewed-" .. t.recipient end
function token.target_ok(s) return s:find("^https?://%w") ~= nil end
function token.param(query, name)
  local value
  for k, v in (query or ""):gmatch("([^&=]+)=([^&]*)") do
    if k == name then
      if value then return nil end
      value = v:gsub("%+", " "):gsub("%%(%x%x)", function(h) return string.char(tonumber(h, 16)) end)
    end
  end
  return value
end

local function make(kind, t)
  t = t or {}
  local numbers = { KINDS[kind], t.campaign or 7, t.recipient or 11, t.link or 3, t.level or 3, t.minute or MINUTE }
  return (t.expired and "x" or "") .. table.concat(numbers, ".")
end

local METHODS = {}
function METHODS:starts(prefix) return self.path:sub(1, #prefix) == prefix end
function METHODS:header(...)
  for _, name in ipairs { ... } do
    if self.headers[name] then return self.headers[name] end
  end
  return nil
end

local HUMAN = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130 Safari/537.36"
local function request(path, over)
  local req = { method = "GET", path = path, now = NOW, body = "", address = "192.0.2.1", headers = { ["user-agent"] = HUMAN } }
  local p, q = path:match("^([^?]*)%?(.*)$")
  if p then
    req.path, req.query = p, q
  end
  for k, v in pairs(over or {}) do
    req[k] = v
  end
  return setmetatable(req, { __index = METHODS })
end

local function with_fakes(run)
  local keep = {}
  for _, part in ipairs { "token", "response", "tracker", "tracker.pages", "tracker.classify" } do
    local name = "portreeve." .. part
    keep[name] = package.loaded[name]
    package.loaded[name] = nil
  end
  package.loaded["portreeve.token"] = token
  package.loaded["portreeve.response"] = { fixed = function(t) return t end }
  local out = run()
  for name, v in pairs(keep) do
    package.loaded[name] = v
  end
  for _, name in ipairs { "portreeve.token", "portreeve.response" } do
    package.loaded[name] = keep[name]
  end
  return out
end

local tracker = with_fakes(function() return require "portreeve.tracker" end)
local classify = with_fakes(function() return require "portreeve.tracker.classify" end)
local agents = require "portreeve.tracker.agents"

local function handler(level, extra, links)
  local conf = { portreeve = { TrackingLevel = { value = level or 4 } }, tracker = extra or {} }
  local handle = with_fakes(function() return tracker.new(conf, { links = links }) end)
  return function(req)
    local response, kind, tok, class, reasons, wait = handle(req)
    return response, kind and { type = kind, token = tok, class = class, reasons = reasons, wait = wait or false } or nil
  end
end

local function click_path(t, target) return "/trk/c/" .. make("click", t) .. "~" .. target .. "?u=" .. target end

describe("tracker routes", function()
  local handle
  before_each(function() handle = handler() end)

  it("answers an open with the picture and an event", function()
    local r, ev = handle(request("/trk/o/" .. make("open") .. ".gif"))
    assert.equal(200, r.status)
    assert.equal(GIF_BYTES, #r.body)
    assert.equal("GIF89a", r.body:sub(1, 6))
    assert.equal("no-store", r.headers["Cache-Control"])
    assert.equal("noindex", r.headers["X-Robots-Tag"])
    assert.equal("open", ev.type)
    assert.equal("human", ev.class)
    assert.equal(0, ev.reasons)
    assert.equal(11, ev.token.recipient)
    assert.is_false(ev.wait)
  end)

  it("gives the same picture and no event for a bad, foreign or expired token", function()
    local good = handle(request("/trk/o/" .. make("open") .. ".gif"))
    for _, text in ipairs { "nonsense", "", make("unsubscribe"), make("open", { expired = true }) } do
      local r, ev = handle(request("/trk/o/" .. text .. ".gif"))
      assert.equal(good, r)
      assert.is_nil(ev)
    end
  end)

  it("redirects a click only where the token covers the target", function()
    local r, ev = handle(request(click_path({ link = 5 }, "https://example.org/a")))
    assert.equal(302, r.status)
    assert.equal("https://example.org/a", r.headers.Location)
    assert.equal("click", ev.type)
    assert.equal(5, ev.token.link)
    local path = "/trk/c/" .. make("click") .. "~https://example.org/a"
    for _, query in ipairs { "?u=https://example.org/b", "?u=https://example.org/a&u=https://evil.example/", "", "?u=", "?x=1" } do
      r, ev = handle(request(path .. query))
      assert.equal(404, r.status)
      assert.is_nil(r.headers.Location)
      assert.is_nil(ev)
    end
  end)

  it("redirects after expiry but records nothing", function()
    local r, ev = handle(request(click_path({ expired = true }, "https://example.org/a")))
    assert.equal(302, r.status)
    assert.is_nil(ev)
  end)

  it("looks short links up in the table and answers 404 for others", function()
    local links = { [3] = "https://example.org/short", [9] = "javascript:x" }
    local with = handler(4, nil, function(campaign, link) return campaign == 7 and links[link] or nil end)
    local r, ev = with(request("/trk/l/" .. make("link")))
    assert.equal(302, r.status)
    assert.equal("https://example.org/short", r.headers.Location)
    assert.equal("click", ev.type)
    assert.equal(404, with(request("/trk/l/" .. make("link", { link = 4 }))).status)
    assert.equal(404, with(request("/trk/l/" .. make("link", { link = 9 }))).status)
    assert.equal(404, with(request("/trk/l/" .. make("open"))).status)
    assert.equal(404, handle(request("/trk/l/" .. make("link"))).status)
  end)

  it("changes nothing on GET of an unsubscribe link", function()
    for _, method in ipairs { "GET", "HEAD" } do
      local r, ev = handle(request("/trk/u/" .. make("unsubscribe"), { method = method }))
      assert.equal(200, r.status)
      assert.is_nil(ev)
      assert.truthy(r.body:find('<form method="post" action="/trk/u/', 1, true))
      assert.is_nil(r.headers["Set-Cookie"])
    end
  end)

  it("takes a one-click unsubscribe, urlencoded and multipart, and waits for it", function()
    local path = "/trk/u/" .. make("unsubscribe", { level = 0 })
    local multi = '--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n'
    for _, over in ipairs {
      { body = "List-Unsubscribe=One-Click", headers = { ["content-type"] = "application/x-www-form-urlencoded" } },
      { body = "List-Unsubscribe=One-Click", headers = {} },
      { body = "a=b&List-Unsubscribe=One-Click", headers = {} },
      { body = multi, headers = { ["content-type"] = "multipart/form-data; boundary=b" } },
      { body = multi, headers = { ["content-type"] = 'Multipart/Form-Data; charset=x; boundary="b"' } },
    } do
      over.method = "POST"
      local r, ev = handle(request(path, over))
      assert.equal(200, r.status)
      assert.equal("unsubscribe", ev.type)
      assert.is_true(ev.wait)
      assert.is_nil(r.headers.Location)
      assert.truthy(r.body:find("/trk/u/renewed-11", 1, true))
    end
  end)

  it("refuses a POST that is no one-click unsubscribe", function()
    local path = "/trk/u/" .. make("unsubscribe")
    for body, status in pairs { [""] = 400, ["List-Unsubscribe=No"] = 400, ["undo=2"] = 400, [("x"):rep(20000)] = 413 } do
      local r, ev = handle(request(path, { method = "POST", body = body }))
      assert.equal(status, r.status)
      assert.is_nil(ev)
    end
    local headers = { ["content-type"] = "multipart/form-data; boundary=b" }
    local r, ev = handle(request(path, { method = "POST", body = "--c\r\n\r\n", headers = headers }))
    assert.equal(400, r.status)
    assert.is_nil(ev)
    assert.equal(404, handle(request("/trk/u/" .. make("open"), { method = "POST", body = "List-Unsubscribe=One-Click" })).status)
  end)

  it("unsubscribes with an expired key too: it is an order", function()
    local path = "/trk/u/" .. make("unsubscribe", { expired = true })
    local r, ev = handle(request(path, { method = "POST", body = "List-Unsubscribe=One-Click" }))
    assert.equal(200, r.status)
    assert.equal("unsubscribe", ev.type)
  end)

  it("takes it back with undo=1 for a number of days", function()
    local over = { method = "POST", body = "undo=1" }
    local r, ev = handle(request("/trk/u/" .. make("unsubscribe"), over))
    assert.equal(200, r.status)
    assert.equal("resubscribe", ev.type)
    assert.is_true(ev.wait)
    local old = make("unsubscribe", { minute = MINUTE - 31 * 1440 })
    r, ev = handle(request("/trk/u/" .. old, over))
    assert.equal(410, r.status)
    assert.is_nil(ev)
    r = handler(4, { UndoDays = { value = 40 } })(request("/trk/u/" .. old, over))
    assert.equal(200, r.status)
    over.body = "List-Unsubscribe=One-Click"
    r = handler(4, { UndoDays = { value = 0 } })(request("/trk/u/" .. make("unsubscribe"), over))
    assert.is_nil(r.body:find("undo", 1, true))
  end)

  it("keeps the old product's form, trailing & tolerated", function()
    local r, ev = handle(request("/trk/open?ref=" .. make("open") .. "&"))
    assert.equal(GIF_BYTES, #r.body)
    assert.equal("open", ev.type)
    r, ev = handle(request("/trk/open"))
    assert.equal(GIF_BYTES, #r.body)
    assert.is_nil(ev)
    r, ev = handle(request("/trk/click?ref=" .. make("click") .. "!https://example.org/&u=https://example.org/&"))
    assert.equal(302, r.status)
    assert.equal("click", ev.type)
    r = handler(4, nil, function() return "https://example.org/table" end)(request("/trk/click?ref=" .. make("link") .. "&"))
    assert.equal("https://example.org/table", r.headers.Location)
    for _, query in ipairs { "", "?ref=", "?ref=nonsense&", "?ref=" .. make("click") .. "&u=https://example.org/" } do
      assert.equal(404, handle(request("/trk/click" .. query)).status)
    end
  end)

  it("has robots.txt, favicon, 404 and 405 with Allow", function()
    assert.equal("User-agent: *\nDisallow: /\n", handle(request("/robots.txt")).body)
    assert.equal(204, handle(request("/favicon.ico")).status)
    for _, path in ipairs { "/trk/", "/trk/x", "/trk/o/", "/trk/o/abc", "/trk", "/robots.txt/" } do
      assert.equal(404, handle(request(path)).status)
    end
    for path, allow in pairs {
      ["/trk/o/" .. make("open") .. ".gif"] = "GET, HEAD", ["/trk/c/x?u=https://a.b/"] = "GET, HEAD", ["/trk/l/x"] = "GET, HEAD",
      ["/trk/t/x"] = "GET, HEAD", ["/trk/open?ref=x"] = "GET, HEAD", ["/trk/click?ref=x"] = "GET, HEAD",
      ["/robots.txt"] = "GET, HEAD", ["/favicon.ico"] = "GET, HEAD",
      ["/trk/u/" .. make("unsubscribe")] = "GET, HEAD, POST",
    } do
      local r, ev = handle(request(path, { method = "DELETE" }))
      assert.equal(405, r.status)
      assert.equal(allow, r.headers.Allow)
      assert.is_nil(ev)
    end
  end)

  it("looks at no token where the path is not a tracker's", function()
    local before = verified
    handle(request("/trk/zzz"))
    handle(request("/robots.txt"))
    assert.equal(before, verified)
  end)
end)

describe("tracking level", function()
  it("off: nothing is recorded, everything is answered, unsubscribes count", function()
    local handle = handler(0)
    local r, ev = handle(request("/trk/o/" .. make("open") .. ".gif"))
    assert.equal(200, r.status)
    assert.is_nil(ev)
    r, ev = handle(request(click_path({}, "https://example.org/")))
    assert.equal(302, r.status)
    assert.is_nil(ev)
    r, ev = handle(request("/trk/t/" .. make("trap")))
    assert.equal(204, r.status)
    assert.is_nil(ev)
    r, ev = handle(request("/trk/u/" .. make("unsubscribe"), { method = "POST", body = "List-Unsubscribe=One-Click" }))
    assert.equal(200, r.status)
    assert.equal("unsubscribe", ev.type)
    assert.equal(0, ev.token.level)
  end)

  it("the lower of the signed and the installation's level is in force", function()
    for most = 1, 4 do
      for signed = 0, 4 do
        local _, ev = handler(most)(request("/trk/o/" .. make("open", { level = signed }) .. ".gif"))
        if signed == 0 then
          assert.is_nil(ev)
        else
          assert.equal(math.min(most, signed), ev.token.level)
        end
      end
    end
    local _, ev = handler("blind")(request("/trk/o/" .. make("open") .. ".gif"))
    assert.equal(1, ev.token.level)
  end)
end)

describe("person or machine", function()
  local function judge(over, t, settings)
    local c = classify.new(settings)
    local tok = { campaign = 1, recipient = 2, link = 3, minute = MINUTE }
    for k, v in pairs(t or {}) do
      tok[k] = v
    end
    return c.judge(request("/", over), tok, "click")
  end
  local function agent(text) return { headers = { ["user-agent"] = text } } end

  it("knows agents", function()
    for text, class in pairs {
      [HUMAN] = "human",
      ["Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; Microsoft Outlook 16.0.5)"] = "human",
      ["Mozilla/5.0 (Linux; Android 9; CUBOT X18 Build/PPR1) AppleWebKit/537.36"] = "human",
      ["Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"] = "proxy",
      ["YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"] = "proxy",
      ["Mozilla/5.0"] = "prefetch",
      ["Mozilla/5.0 (compatible; BarracudaCentral)"] = "scanner",
      ["Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"] = "bot",
      ["curl/7.88.1"] = "bot",
      ["SomeRobot"] = "bot",
      ["Frobnicator 3"] = "unknown",
    } do
      assert.equal(class, (judge(agent(text))), text)
      assert.equal(class, agents.class_of(text), text)
    end
    local class, reasons = judge(agent("curl/7.88.1"))
    assert.equal("bot", class)
    assert.equal(classify.AGENT, reasons)
    class, reasons = judge { headers = {} }
    assert.equal("unknown", class)
    assert.equal(classify.NO_AGENT, reasons)
  end)

  it("sees prefetching, HEAD and reading too soon", function()
    for _, name in ipairs { "purpose", "sec-purpose", "x-purpose", "x-moz" } do
      local class, reasons = judge { headers = { ["user-agent"] = HUMAN, [name] = "prefetch" } }
      assert.equal("prefetch", class)
      assert.equal(classify.PURPOSE, reasons)
    end
    local class, reasons = judge { method = "HEAD" }
    assert.equal("scanner", class)
    assert.equal(classify.HEAD, reasons)
    local sent = (NOW - 1577836800000) // 60000
    class, reasons = judge({ now = sent * 60000 + 1577836800000 + 4999 }, { minute = sent })
    assert.equal("scanner", class)
    assert.equal(classify.EARLY, reasons)
    class, reasons = judge({ now = sent * 60000 + 1577836800000 + 5000 }, { minute = sent })
    assert.equal("human", class)
    assert.equal(0, reasons)
    class, reasons = judge({ method = "HEAD", headers = { ["user-agent"] = "curl/7", purpose = "prefetch" } })
    assert.equal("bot", class) -- the strongest sign names the class, every sign is a reason
    assert.equal(classify.AGENT | classify.PURPOSE | classify.HEAD, reasons)
  end)

  it("sees a burst over several links, of one recipient, within its time", function()
    local c = classify.new()
    local function click(link, ms, recipient)
      local tok = { campaign = 1, recipient = recipient or 2, link = link, minute = MINUTE }
      return (c.judge(request("/", { now = NOW + ms }), tok, "click"))
    end
    assert.equal("human", click(1, 0))
    assert.equal("human", click(1, 100))
    assert.equal("human", click(1, 200)) -- the same link again is no burst
    assert.equal("human", click(2, 300))
    assert.equal("human", click(1, 350, 99)) -- another recipient
    assert.equal("scanner", click(3, 400))
    assert.equal("scanner", click(3, 500))
    assert.equal("human", click(4, 20000)) -- later
    assert.equal("human", click(5, 31000))
    assert.equal("human", click(6, 42000))
    local class = c.judge(request("/", { now = NOW }), { campaign = 1, recipient = 2, link = 0, minute = MINUTE }, "open")
    assert.equal("human", class)
  end)

  it("takes what follows a trap for a machine, and forgets", function()
    local handle = handler()
    local r, ev = handle(request("/trk/t/" .. make("trap")))
    assert.equal(204, r.status)
    assert.equal("trap", ev.type)
    local function open(recipient, address, ms)
      local _, e = handle(request("/trk/o/" .. make("open", { recipient = recipient }) .. ".gif", { address = address, now = NOW + ms }))
      return e.class, e.reasons
    end
    assert.same({ "scanner", classify.TRAP }, { open(11, "192.0.2.99", 1000) }) -- the recipient
    assert.same({ "scanner", classify.TRAP }, { open(12, "192.0.2.1", 2000) }) -- the address
    assert.same({ "human", 0 }, { open(12, "192.0.2.2", 3000) })
    assert.same({ "human", 0 }, { open(11, "192.0.2.1", 70000) })
    r, ev = handler()(request("/trk/t/nonsense"))
    assert.equal(204, r.status)
    assert.is_nil(ev)
  end)

  it("remembers a bounded number", function()
    local c = classify.new { most_recipients = 50, most_agents = 10, burst_ms = 1000000, trap_ms = 1000000 }
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 60000 do
      local req = request("/", { headers = { ["user-agent"] = "agent " .. i }, address = "192.0.2." .. i })
      c.judge(req, { campaign = 1, recipient = i, link = 1, minute = MINUTE }, "click")
      c.trap(req, { campaign = 1, recipient = i })
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 200) -- KB
  end)

  it("is not upset by a clock that goes back", function()
    local c = classify.new()
    local function click(link, ms)
      return (c.judge(request("/", { now = ms }), { campaign = 1, recipient = 2, link = link, minute = 0 }, "click"))
    end
    click(1, NOW)
    assert.equal("human", click(2, NOW - 86400000))
    assert.equal("human", click(3, NOW - 86400000 + 1))
    assert.equal("scanner", click(4, NOW - 86400000 + 2))
  end)
end)
