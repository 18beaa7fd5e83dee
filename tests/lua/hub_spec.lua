-- The hub with real SQLite: first account, log-in, sessions, forged requests, status, reload.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local trusted = dofile(folder .. "trusted.lua")
local cjson = require "cjson"

local PASSWORD = "correct horse battery"

local function status_sample()
  return {
    version = "0.1.0", generation = 3.0, since_ms = 1699990000000, components = "tracker,ui,hub",
    listeners = { { name = "<b>http", address = "0.0.0.0", port = 8080.0, scheme = "http", services = "tracker,ui,hub", certificate = "",
      state = "accepting connections on 0.0.0.0:8080", active = 3, restriction = "none", list = "",
      because = { file = "conf/tomcat.ini", line = 12, entry = "Port", row = "R1", policy = "policies/bind.lua:41" } } },
    certificates = { { name = "default", subject = "CN=localhost", names = "localhost", not_after = 1700000000 + 10 * 86400 } },
    spool = { backlog = 12, committed = 1234567, dropped = 0, bytes = 4096, failing = false },
    last_reload = { at_ms = 1699999000000, ok = false, generation = 3, text = "conf/tomcat.ini:12: Port=80a: not a port <x>" },
  }
end

describe("the hub", function()
  local world, hub, handler, browser

  before_each(function()
    world = trusted.install { status = status_sample() }
    hub = require "portreeve.hub"
    handler = hub.handler({})
    browser = trusted.browser { ["/hub"] = handler }
  end)
  after_each(function() world.finish() end)

  local function setup_token()
    local file = assert(io.open(world.state .. "/keys/setup.token"))
    local token = file:read("l")
    file:close()
    return token
  end
  local function make_account()
    return browser.post("/hub/setup", { token = setup_token(), account = "ada", password = PASSWORD, again = PASSWORD })
  end
  local function log_in(b, password, account)
    return (b or browser).post("/hub/login", { account = account or "ada", password = password or PASSWORD })
  end
  local function query(sql)
    local db = require("portreeve.db.handle").new { name = world.state .. "/db/system.db" }
    local rows = assert(db:rows(sql))
    db:close()
    return rows
  end

  describe("on its first start", function()
    it("has no account and no default password, and makes a set-up token", function()
      assert.equal(0, #query("SELECT * FROM account"))
      assert.truthy(setup_token():match("^%x+$") and #setup_token() == 32)
      local answer = browser.get("/hub/login")
      assert.truthy(answer.body:find("set-up link", 1, true))
      assert.is_nil(answer.body:find(setup_token(), 1, true))
      assert.is_nil(answer.body:find('name="password"', 1, true))
    end)
    it("keeps the token over a second start", function()
      local before = setup_token()
      hub.handler({})
      assert.equal(before, setup_token())
    end)
    it("shows the form for the right token only", function()
      assert.equal(200, browser.get("/hub/setup?token=" .. setup_token()).status)
      assert.equal(403, browser.get("/hub/setup?token=" .. ("0"):rep(32)).status)
      assert.equal(403, browser.get("/hub/setup").status)
    end)
    it("changes nothing on GET", function()
      browser.get("/hub/setup?token=" .. setup_token() .. "&account=ada&password=" .. PASSWORD:gsub(" ", "+") .. "&again="
        .. PASSWORD:gsub(" ", "+"))
      assert.equal(0, #query("SELECT * FROM account"))
    end)
    it("makes one account, once", function()
      local token = setup_token()
      local answer = make_account()
      assert.equal(303, answer.status)
      assert.equal("/hub/login?done=account", answer.headers.Location)
      assert.is_nil(io.open(world.state .. "/keys/setup.token"))
      assert.equal(403, browser.post("/hub/setup", { token = token, account = "eve", password = PASSWORD, again = PASSWORD }).status)
      assert.same({ { name = "ada" } }, query("SELECT name FROM account"))
    end)
    it("makes none after 24 hours, and a new link then", function()
      local old = setup_token()
      world.now = world.now + 24 * 3600000 + 1
      assert.equal(403, browser.get("/hub/setup?token=" .. old).status)
      browser.get("/hub/login")
      assert.not_equal(old, setup_token())
      assert.equal(200, browser.get("/hub/setup?token=" .. setup_token()).status)
    end)
    it("names what is wrong with account and password", function()
      local function try(over)
        local fields = { token = setup_token(), account = "ada", password = PASSWORD, again = PASSWORD }
        for k, v in pairs(over) do
          fields[k] = v
        end
        local answer = browser.post("/hub/setup", fields)
        return answer.status, answer.body:match('role="alert"><p>(.-)</p>')
      end
      assert.same({ 422, "The password must have at least 10 characters." }, { try { password = "123456789", again = "123456789" } })
      assert.same({ 422, "The two passwords differ." }, { try { again = "correct horse batterie" } })
      assert.equal(422, (try { account = "<script>" }))
      assert.equal(422, (try { account = ("a"):rep(65) }))
      assert.equal(422, (try { password = ("a"):rep(512), again = ("a"):rep(512) }))
      assert.equal(422, (try { password = "abcdefghij\0k", again = "abcdefghij\0k" }))
      assert.equal(0, #query("SELECT * FROM account"))
    end)
  end)

  describe("log-in", function()
    before_each(make_account)

    it("leads to the status page with a session that is stored hashed", function()
      local answer = log_in()
      assert.equal(303, answer.status)
      assert.equal("/hub/", answer.headers.Location)
      assert.truthy(answer.headers["Set-Cookie"]:match("^portreeve=%x+; Path=/; HttpOnly; SameSite=Strict$"))
      local token = browser.cookie:match("=(%x+)$")
      assert.equal(32, #token) -- 128 bits
      local rows = query("SELECT id FROM session")
      assert.equal(1, #rows)
      assert.is_nil(rows[1].id:find(token, 1, true))
      assert.equal(200, browser.get("/hub/").status)
    end)
    it("makes a new session id each time and ends the old one", function()
      log_in()
      local first = browser.cookie
      log_in()
      assert.not_equal(first, browser.cookie)
      browser.cookie = first
      assert.equal(303, browser.get("/hub/").status)
    end)
    it("does not take a session id from outside", function()
      browser.cookie = "portreeve=" .. ("a"):rep(32)
      log_in()
      assert.not_equal("portreeve=" .. ("a"):rep(32), browser.cookie)
    end)
    it("is refused for a wrong password and an unknown account at the same cost and in the same words", function()
      local before = world.hashes
      local wrong = log_in(nil, "wrong password")
      assert.equal(before + 1, world.hashes)
      local unknown = log_in(nil, "wrong password", "nobody")
      assert.equal(before + 2, world.hashes)
      assert.equal(403, wrong.status)
      assert.equal(403, unknown.status)
      assert.equal((wrong.body:gsub('value="ada"', "")), (unknown.body:gsub('value="nobody"', "")))
      assert.is_nil(wrong.headers["Set-Cookie"])
    end)
    it("is throttled by account, whatever the address", function()
      for i = 1, 5 do
        browser.base = { address = "127.0.0." .. i }
        assert.equal(403, log_in(nil, "wrong password").status)
      end
      local before = world.hashes
      browser.base = { address = "127.0.0.77" }
      local answer = log_in()
      assert.equal(429, answer.status)
      assert.equal("2", answer.headers["Retry-After"])
      assert.equal(before, world.hashes)
      world.mono = world.mono + 2001
      assert.equal(303, log_in().status)
    end)
    it("is throttled by address, whatever the account", function()
      for i = 1, 10 do
        assert.equal(403, log_in(nil, "wrong password", "user" .. i).status)
      end
      assert.equal(429, log_in(nil, "wrong password", "user99").status)
      world.mono = world.mono + 15 * 60000
      assert.equal(403, log_in(nil, "wrong password", "user99").status)
    end)
    it("waits longer each time, at most a minute for an account", function()
      local longest = 0
      for i = 1, 20 do
        browser.base = { address = "127.1.0." .. i }
        local answer = log_in(nil, "wrong password")
        if answer.status == 429 then
          longest = math.max(longest, tonumber(answer.headers["Retry-After"]))
          world.mono = world.mono + longest * 1000 + 1
        end
      end
      assert.truthy(longest >= 32 and longest <= 60)
    end)
    it("goes back to where one wanted to go, but never elsewhere", function()
      for given, want in pairs { ["/hub/x?y=1"] = "/hub/x?y=1", ["//evil.example/"] = "/hub/", ["https://evil.example/hub/"] = "/hub/",
        ["/hub//evil.example"] = "/hub/", ["/hub/\\evil"] = "/hub/", ["/hub/\r\nX: y"] = "/hub/", ["/lui/"] = "/hub/" } do
        local b = trusted.browser { ["/hub"] = handler }
        local answer = b.post("/hub/login", { account = "ada", password = PASSWORD, next = given })
        assert.equal(want, answer.headers.Location, given)
      end
    end)
    it("takes no password in clear text from elsewhere", function()
      browser.base = { address = "192.0.2.7" }
      local before = world.hashes
      assert.equal(403, browser.get("/hub/login").status)
      assert.equal(403, log_in().status)
      assert.equal(before, world.hashes)
    end)
    it("uses a __Host- cookie and HSTS over TLS", function()
      local b = trusted.browser({ ["/hub"] = handler }, { secure = "own", address = "192.0.2.7", host = "hub.example" })
      local answer = log_in(b)
      assert.truthy(answer.headers["Set-Cookie"]:match("^__Host%-portreeve=%x+; Path=/; HttpOnly; SameSite=Strict; Secure$"))
      assert.truthy(b.get("/hub/").headers["Strict-Transport-Security"])
      assert.is_nil(browser.get("/hub/login").headers["Strict-Transport-Security"])
      -- The plain-named cookie means nothing there, so a clear-text page cannot plant a session.
      b.cookie = b.cookie:gsub("^__Host%-", "")
      assert.equal(303, b.get("/hub/").status)
    end)
    it("is refused from another site", function()
      assert.equal(403, browser.post("/hub/login", { account = "ada", password = PASSWORD }, { ["sec-fetch-site"] = "cross-site" }).status)
      assert.equal(403, browser.post("/hub/login", { account = "ada", password = PASSWORD },
        { ["sec-fetch-site"] = "", origin = "http://evil.example" }).status)
    end)
  end)

  describe("a session", function()
    before_each(function()
      make_account()
      log_in()
    end)

    it("ends after 15 idle minutes", function()
      world.mono = world.mono + 15 * 60000 - 1000
      assert.equal(200, browser.get("/hub/").status)
      world.mono = world.mono + 15 * 60000 - 1000
      assert.equal(200, browser.get("/hub/").status)
      world.mono = world.mono + 15 * 60000 + 1000
      assert.equal(303, browser.get("/hub/").status)
      assert.equal(0, #query("SELECT * FROM session"))
    end)
    it("ends after 12 hours of use", function()
      for _ = 1, 12 * 6 do
        world.mono = world.mono + 10 * 60000 - 1000
        assert.equal(200, browser.get("/hub/").status)
      end
      world.mono = world.mono + 10 * 60000
      assert.equal(303, browser.get("/hub/").status)
    end)
    it("is neither revived nor ended by a clock that jumps, and ends with the boot", function()
      world.now = world.now + 20 * 365 * 86400000
      assert.equal(200, browser.get("/hub/").status)
      world.now = world.now - 40 * 365 * 86400000
      assert.equal(200, browser.get("/hub/").status)
      world.boot = "boot-2"
      handler = hub.handler({})
      browser = (function(b)
        local new = trusted.browser { ["/hub"] = handler }
        new.cookie = b.cookie
        return new
      end)(browser)
      assert.equal(303, browser.get("/hub/").status)
    end)
    it("ends at log-out, which needs the token", function()
      assert.equal(403, browser.post("/hub/logout", {}).status)
      assert.equal(403, browser.post("/hub/logout", { csrf = ("0"):rep(32) }).status)
      assert.equal(405, browser.get("/hub/logout").status)
      assert.equal(200, browser.get("/hub/").status)
      local answer = browser.post("/hub/logout", { csrf = browser.csrf("/hub/") })
      assert.equal(303, answer.status)
      assert.truthy(answer.headers["Set-Cookie"]:find("Max-Age=0", 1, true))
      assert.equal(0, #query("SELECT * FROM session"))
    end)
    it("has a token of its own", function()
      local other = trusted.browser { ["/hub"] = handler }
      log_in(other)
      assert.not_equal(browser.csrf("/hub/"), other.csrf("/hub/"))
      assert.equal(403, browser.post("/hub/logout", { csrf = other.csrf("/hub/") }).status)
    end)
    it("is one of at most 50 of its account", function()
      for _ = 1, 60 do
        log_in(trusted.browser { ["/hub"] = handler })
      end
      assert.equal(50, #query("SELECT * FROM session"))
    end)
  end)

  describe("pages", function()
    before_each(function()
      make_account()
      log_in()
    end)

    it("carry the headers that keep them safe", function()
      for _, target in ipairs { "/hub/", "/hub/login", "/hub/nowhere" } do
        local headers = browser.get(target).headers
        assert.truthy(headers["Content-Security-Policy"]:find("default-src 'self'; frame-ancestors 'none'; base-uri 'none'", 1, true))
        assert.equal("nosniff", headers["X-Content-Type-Options"])
        assert.equal("no-store", headers["Cache-Control"])
        assert.equal("same-origin", headers["Referrer-Policy"])
      end
    end)
    it("show listeners with the rule and line behind each, escaped", function() -- Q16
      local body = browser.get("/hub/").body
      for _, text in ipairs { "accepting connections on 0.0.0.0:8080", "conf/tomcat.ini:12", "Rule R1", "policies/bind.lua:41", ">8080<",
        "1,234,567", "&lt;b&gt;http", "Port=80a: not a port &lt;x&gt;", "Refused", "10 days left" } do
        assert.truthy(body:find(text, 1, true), text)
      end
      assert.is_nil(body:find("<b>http", 1, true))
      assert.is_nil(body:find("<script", 1, true))
      assert.is_nil(body:find(" style=", 1, true))
    end)
    it("are complete documents with language, headings and scoped tables", function()
      local body = browser.get("/hub/").body
      assert.truthy(body:find('^<!DOCTYPE html>\n<html lang="en">'))
      assert.equal(1, select(2, body:gsub("<h1[ >]", "")))
      assert.is_nil(body:find("<th>", 1, true))
      assert.truthy(body:find('<a class="skip" href="#content">', 1, true))
    end)
    it("send /hub to /hub/ without naming a host", function() -- M40
      assert.equal("/hub/", browser.get("/hub").headers.Location)
    end)
    it("say what method they take", function()
      assert.equal("POST", browser.get("/hub/reload").headers.Allow)
      assert.equal("GET, HEAD", browser.post("/hub/", { csrf = "x" }).headers.Allow)
      assert.equal(404, browser.get("/hub/nowhere").status)
      assert.equal(404, browser.get("/hub/../etc/passwd").status)
    end)
    it("work when the engine says nothing", function()
      world.status = {}
      assert.equal(200, browser.get("/hub/").status)
      world.status = { listeners = cjson.null, last_reload = cjson.null, certificates = cjson.null, spool = cjson.null,
        components = cjson.null }
      assert.equal(200, browser.get("/hub/").status)
    end)
  end)

  describe("reload", function()
    local asked
    before_each(function()
      asked = 0
      world.reload = function()
        asked = asked + 1
        return false, "conf/tomcat.ini:3: bad"
      end
      make_account()
      log_in()
    end)
    it("is done by POST with the token only, and written down", function()
      browser.get("/hub/reload")
      assert.equal(403, browser.post("/hub/reload", {}).status)
      assert.equal(403, browser.post("/hub/reload", { csrf = browser.csrf("/hub/") }, { ["sec-fetch-site"] = "cross-site" }).status)
      assert.equal(403, browser.post("/hub/reload", { csrf = browser.csrf("/hub/") }, { ["sec-fetch-site"] = "", origin = "null" }).status)
      assert.equal(400, browser.post("/hub/reload", { csrf = browser.csrf("/hub/") }, { ["content-type"] = "text/plain" }).status)
      assert.equal(0, asked)
      local answer = browser.post("/hub/reload", { csrf = browser.csrf("/hub/") })
      assert.equal(1, asked)
      assert.equal("/hub/?done=refused#reload", answer.headers.Location)
      assert.same({ { account = "ada", detail = "refused: conf/tomcat.ini:3: bad" } },
        query("SELECT account, detail FROM audit WHERE what = 'reload'"))
    end)
    it("is not for strangers", function()
      assert.equal(403, trusted.browser({ ["/hub"] = handler }).post("/hub/reload", { csrf = browser.csrf("/hub/") }).status)
      assert.equal(0, asked)
    end)
  end)

  describe("the one-time log-in link", function()
    local link
    before_each(function()
      make_account()
      link = assert((require "portreeve.web.loginlink")(world.state, cjson.encode { listeners = {
        { address = "192.0.2.1", port = 80, scheme = "http", services = "hub" }, { address = "0.0.0.0", port = 8080, scheme = "http",
          services = { "tracker", "hub" } },
        { address = "::1", port = 8443, scheme = "https", services = "ui" }, { address = "127.0.0.1", port = 9090, scheme = "http",
          services = "ops" } } }))
    end)
    local function token() return link:match("token=(%x+)") end

    it("names the loopback addresses that carry hub or ui", function()
      assert.equal("http://127.0.0.1:8080/hub/once?token=T\nhttps://[::1]:8443/lui/once?token=T\n", (link:gsub("token=%x+", "token=T")))
    end)
    it("is stored hashed", function()
      local file = assert(io.open(world.state .. "/keys/login.token"))
      assert.is_nil(file:read("a"):find(token(), 1, true))
      file:close()
    end)
    it("logs in once, by POST", function()
      assert.truthy(browser.get("/hub/once?token=" .. token()).body:find('<option value="ada">', 1, true))
      assert.equal(303, browser.get("/hub/").status)
      assert.equal(303, browser.post("/hub/once", { token = token(), account = "ada" }).status)
      assert.equal(200, browser.get("/hub/").status)
      assert.equal(403, trusted.browser({ ["/hub"] = handler }).post("/hub/once", { token = token(), account = "ada" }).status)
    end)
    it("works from loopback only and for 15 minutes", function()
      local far = trusted.browser({ ["/hub"] = handler }, { address = "192.0.2.9", secure = "own" })
      assert.equal(403, far.get("/hub/once?token=" .. token()).status)
      assert.equal(403, far.post("/hub/once", { token = token(), account = "ada" }).status)
      world.now = world.now + 15 * 60000 + 1
      assert.equal(403, browser.post("/hub/once", { token = token(), account = "ada" }).status)
    end)
    it("says what to do when nothing carries the hub", function()
      local none, why = (require "portreeve.web.loginlink")(world.state, cjson.encode { listeners = {} })
      assert.is_nil(none)
      assert.truthy(why:find("emergency.Services=hub", 1, true))
      assert.truthy(select(2, (require "portreeve.web.loginlink")(world.state, "")):find("does not run", 1, true))
    end)
  end)

  describe("its database", function()
    it("may vanish while the hub runs", function()
      make_account()
      log_in()
      os.execute("rm -f '" .. world.state .. "'/db/system.db*")
      local answer = browser.get("/hub/")
      assert.equal(303, answer.status) -- a new file: nobody is logged in
      assert.truthy(browser.get("/hub/login").body:find("No account yet", 1, true))
      assert.equal(303, make_account().status)
    end)
    it("is refused when a newer program made it", function()
      make_account()
      query("SELECT 1")
      local db = require("portreeve.db.handle").new { name = world.state .. "/db/system.db" }
      assert(db:run("UPDATE portreeve_schema SET version = 99"))
      db:close()
      handler = hub.handler({})
      browser = trusted.browser { ["/hub"] = handler }
      assert.equal(503, browser.get("/hub/login").status)
      assert.truthy(world.logged("made by a newer program"))
    end)
    it("gives 503 and no page of data when it cannot be opened", function()
      make_account()
      log_in()
      os.execute("rm -rf '" .. world.state .. "/db' && touch '" .. world.state .. "/db'")
      local answer = browser.get("/hub/")
      assert.equal(503, answer.status)
      assert.equal("5", answer.headers["Retry-After"])
      os.execute("rm -f '" .. world.state .. "/db'")
      assert.equal(303, browser.get("/hub/").status)
    end)
  end)

  describe("contact with the components", function()
    it("is asked for on the internal port and shown", function() -- M52
      make_account()
      log_in()
      local contacts = require "portreeve.hub.contacts"
      local conf = { hub = { RMIPort = { value = 5310 } }, lui = { RMIPort = { value = 5310 } }, tracker = { RMIPort = { value = 0 } } }
      world.status.listeners[2] = { name = "internal", address = "0.0.0.0", port = 41099.0 }
      local urls = {}
      world.call = function(rq)
        urls[#urls + 1] = rq.url
        if rq.url:find("41099", 1, true) then
          return nil, "no answer from http://127.0.0.1:41099: Connection refused"
        end
        return { status = 200, headers = {}, body = cjson.encode { components = { hub = { version = "0.1.0" }, ui = { version = "0.2.0",
          reports = { alarms = 1, sources = { { place = "x", tracker = "trk1", fault = "trouble <i>" } } } } } } }
      end
      local accounts = require("portreeve.web.places").system(world.state)
      contacts.poll(conf, package.loaded["portreeve.engine"], accounts, world.call, function() return false end)
      assert.equal("http://127.0.0.1:5310/internal/status", urls[1]) -- M51
      local body = browser.get("/hub/").body
      for _, text in ipairs { "0.2.0", "127.0.0.1:5310", "127.0.0.1:41099", "Connection refused", "No contact", "1 alarm(s)",
        "trouble &lt;i&gt;" } do
        assert.truthy(body:find(text, 1, true), text)
      end
      accounts.db:close()
    end)
  end)
end)
