-- URL settings: who gets which address (M33–M35, M38–M40), the page, what a change of ports does to them, the self-test (M43).
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
require("portreeve.sim").install()
local trusted = dofile(folder .. "trusted.lua")

describe("the address that counts", function()
  local rules = require "portreeve.hub.urlrules"
  local stored
  local function nothing_set()
    stored = { set = { default = { [""] = {} }, group = { sales = {} }, user = { ada = {}, bob = {} } }, group_of = { ada = "sales" } }
  end
  before_each(nothing_set)
  local function set(level, name, key, url) stored.set[level][name][key] = url end
  local function of(key, level, name) return (rules.resolve(stored, key, level, name)) end

  it("is the user's, else the group's, else the default", function() -- M34
    for _, key in ipairs { "users", "tracking", "recipients" } do
      nothing_set()
      set("default", "", key, "http://d")
      assert.equal("http://d", of(key, "user", "ada"))
      set("group", "sales", key, "http://g")
      assert.equal("http://g", of(key, "user", "ada"))
      assert.equal("http://g", of(key, "group", "sales"))
      assert.equal("http://d", of(key, "user", "bob")) -- in no group
      set("user", "ada", key, "http://u")
      assert.equal("http://u", of(key, "user", "ada"))
      assert.equal("http://d", of(key, "user", "nobody"))
    end
  end)
  it("falls back when what was set is cleared", function() -- M34
    set("default", "", "tracking", "http://d")
    set("group", "sales", "tracking", "http://g")
    set("user", "ada", "tracking", "http://u")
    set("user", "ada", "tracking", nil)
    assert.equal("http://g", of("tracking", "user", "ada"))
    set("group", "sales", "tracking", nil)
    assert.equal("http://d", of("tracking", "user", "ada"))
    set("default", "", "tracking", nil)
    assert.is_nil(of("tracking", "user", "ada"))
  end)
  it("of the admin follows the users' one at the default level", function() -- M35
    set("default", "", "users", "http://d/lui")
    assert.equal("http://d/lui", of("admin", "default"))
    set("default", "", "users", "http://d:8080/lui")
    assert.equal("http://d:8080/lui", of("admin", "default"))
    set("default", "", "admin", "http://a/lui")
    set("default", "", "users", "http://d:9/lui")
    assert.equal("http://a/lui", of("admin", "default"))
  end)
  it("for recipients follows the users' one of the same group or user, and not at the default level", function() -- M35
    set("default", "", "users", "http://d/lui")
    assert.is_nil(of("recipients", "default"))
    set("default", "", "recipients", "http://r")
    assert.equal("http://r", of("recipients", "user", "ada"))
    set("group", "sales", "users", "http://g")
    assert.equal("http://g", of("recipients", "group", "sales"))
    assert.equal("http://g", of("recipients", "user", "ada"))
    set("group", "sales", "users", "http://g:81")
    assert.equal("http://g:81", of("recipients", "user", "ada")) -- a later change of the parent
    set("user", "ada", "recipients", "http://u")
    assert.equal("http://u", of("recipients", "user", "ada"))
    set("user", "ada", "recipients", nil)
    set("user", "ada", "users", "http://ada")
    assert.equal("http://ada", of("recipients", "user", "ada"))
  end)
  it("set equal to its parent is not inherited", function() -- M35
    set("default", "", "users", "http://d/lui")
    set("default", "", "admin", "http://d/lui")
    set("default", "", "users", "http://other/lui")
    assert.equal("http://d/lui", of("admin", "default"))
  end)
  it("says where it comes from, and what clearing would give", function()
    set("default", "", "users", "http://d")
    set("group", "sales", "users", "http://g")
    set("user", "ada", "users", "http://u")
    assert.same({ level = "user", name = "ada", key = "users" }, select(2, rules.resolve(stored, "recipients", "user", "ada")))
    assert.equal("http://g", (rules.resolve(stored, "users", "user", "ada", true)))
  end)
  it("has admin and hub addresses at the default level only", function()
    local keys = {}
    for i, s in ipairs(rules.at_level("group")) do keys[i] = s.key end
    assert.same({ "users", "recipients", "tracking" }, keys)
    assert.equal(5, #rules.at_level("default"))
  end)
end)

describe("URL Settings", function()
  local world, browser, conf
  local function listener(name, address, port, scheme, services)
    return { name = name, address = address, port = port + 0.0, scheme = scheme, services = services, because = {}, state = "bound",
      active = 0 }
  end
  before_each(function()
    world = trusted.install { status = { version = "0.1.0", listeners = { listener("http", "0.0.0.0", 8080, "http", "tracker,ui,hub"),
      listener("old", "0.0.0.0", 81, "http", "tracker") } } }
    conf = require("portreeve.rules").build { ["listeners.ini"] = { display = "conf/listeners.ini",
      entries = { { key = "old.Port", value = "81", line = 1 }, { key = "old.Services", value = "tracker", line = 2 } } } }
    browser = trusted.browser({ ["/hub"] = require("portreeve.hub").handler(conf) },
      { listener = "http", socket_address = "0.0.0.0", local_port = 8080 })
    trusted.log_in(world, browser)
  end)
  after_each(function() world.finish() end)

  local function save(fields)
    fields.csrf = browser.csrf("/hub/lui/urls")
    return browser.post("/hub/lui/urls", fields)
  end
  local function field(body, key)
    return body:match('<input[^>]-id="url%-' .. key .. '".->.-</div>')
  end

  it("shows what counts where nothing is set, by the ports that are bound", function() -- M33, M38, M39, M40
    local body = browser.get("/hub/lui/urls").body
    for _, text in ipairs { "LUI Access URL for Users", "URL for Recipients, Subscribers and Others", "LUI Access URL for Admin",
      "HUB Access URL for Admin", "Default Tracking URL", "http://localhost:8080/lui", "http://localhost:8080/hub" } do
      assert.truthy(body:find(text, 1, true), text)
    end
    assert.is_nil(body:find('class="warning"', 1, true))
  end)
  it("warns about a port that is not bound, there and on the status page", function() -- M33, M39, M48
    assert.equal(303, save({ users = "http://news.example.org:8081/lui", hub = "https://news.example.org/hub/" }).status)
    local body = browser.get("/hub/lui/urls").body
    assert.truthy(field(body, "users"):find("no socket of this server has port 8081", 1, true))
    assert.truthy(field(body, "hub"):find('value="https://news.example.org/hub"', 1, true)) -- M40: with or without the slash
    assert.truthy(field(body, "hub"):find("443", 1, true))
    body = browser.get("/hub/").body
    assert.truthy(body:find("LUI Access URL for Users, http://news.example.org:8081/lui: no socket", 1, true))
    save { users = "http://news.example.org:8080/lui" }
    body = browser.get("/hub/lui/urls").body
    assert.is_nil(body:find('class="warning"', 1, true))
    assert.truthy(field(body, "admin"):find("http://news.example.org:8080/lui", 1, true)) -- M35: inherited, and visible
  end)
  it("has overrides for groups and users", function() -- M34
    save { tracking = "http://d.example.org:8080" }
    save { level = "group", name = "sales", tracking = "http://g.example.org:81" }
    local body = browser.get("/hub/lui/urls?level=user&name=bob").body
    assert.truthy(field(body, "tracking"):find('placeholder="http://d.example.org:8080"', 1, true))
    assert.is_nil(field(body, "admin"))
    assert.equal(303, browser.post("/hub/lui/urls/group", { csrf = browser.csrf("/hub/lui/urls"), name = "bob", grp = "sales" }).status)
    body = browser.get("/hub/lui/urls?level=user&name=bob").body
    assert.truthy(field(body, "tracking"):find("Follows Default Tracking URL of group sales", 1, true))
    save { level = "user", name = "bob", tracking = "http://g.example.org:81" } -- equal to the group's, and set all the same
    save { level = "group", name = "sales", tracking = "" }
    body = browser.get("/hub/lui/urls?level=user&name=bob").body
    assert.truthy(field(body, "tracking"):find("Set here", 1, true))
    assert.truthy(browser.get("/hub/lui/urls").body:find("User bob", 1, true))
  end)
  it("refuses what is no address, and saves nothing of that form", function()
    for _, bad in ipairs { "news.example.org", "ftp://x", "http://x?y=1", "http://", "javascript:alert(1)", "http://x:99999",
      "http://" .. ("x"):rep(500), "http://a b" } do
      local answer = save { users = bad, tracking = "http://fine:8080" }
      assert.equal(422, answer.status, bad)
      assert.truthy(answer.body:find('role="alert"', 1, true), bad)
    end
    assert.equal(422, save({ level = "group", name = "a b", tracking = "http://fine:8080" }).status)
    assert.equal(422, save({ level = "server", name = "x", tracking = "http://fine:8080" }).status)
    assert.truthy(browser.get("/hub/lui/urls").body:find("Nobody has addresses", 1, true))
    assert.truthy(field(browser.get("/hub/lui/urls").body, "tracking"):find("Inherited", 1, true))
  end)
  it("writes down who changed what, and takes no forged form", function()
    save { tracking = "http://d.example.org:8080" }
    save { tracking = "http://d.example.org:8080" }
    local db = require("portreeve.db.handle").new { name = world.state .. "/db/system.db" }
    local rows = assert(db:rows("SELECT account, detail FROM audit WHERE what = 'url settings'"))
    db:close()
    assert.same({ { account = "ada", detail = "the default: tracking: inherited → http://d.example.org:8080" } }, rows)
    assert.equal(403, browser.post("/hub/lui/urls", { tracking = "http://x" }).status)
  end)
  it("says before a port closes which addresses stop working", function() -- M38
    save { tracking = "http://news.example.org:81" }
    package.loaded["portreeve.engine"].edit = function() return true, "old: 0.0.0.0:81 closes" end
    local fields = { csrf = browser.csrf("/hub/listeners"), ["l.old.Port"] = "0" }
    fields.seen = browser.get("/hub/listeners").body:match('name="seen"[^>]-value="(%x+)"')
    local body = browser.post("/hub/listeners", fields).body
    assert.truthy(body:find("Default Tracking URL is http://news.example.org:81: nobody answers there after this. Links in mails", 1, true))
    fields["l.old.Port"] = "free"
    assert.truthy(browser.post("/hub/listeners", fields).body:find("Links in mails", 1, true))
    fields["l.old.Port"], fields["l.old.MaxConnections"] = "81", "5"
    assert.is_nil(browser.post("/hub/listeners", fields).body:find("Links in mails", 1, true))
    assert.truthy(browser.get("/hub/lui/urls").body:find("Mails that have been sent keep the address", 1, true))
  end)

  -- There is no table of web interface links in this product: what the old one stored with each, the port, no page of this one holds.
  it("is all that holds a port: the pages link by paths, so none has to be made again after a change", function() -- M36, M37
    for _, path in ipairs { "/hub/", "/hub/listeners", "/hub/ports", "/hub/lui/urls", "/hub/trk/general", "/hub/login" } do
      local body = browser.get(path).body
      for attribute, target in body:gmatch("(%l+)=\"([^\"]*)\"") do
        local link = attribute == "href" or attribute == "action" or attribute == "src"
        assert.falsy(link and target:find("^%a+:"), path .. " " .. target)
      end
    end
  end)

  it("has a page of every port with who must reach it", function() -- M24, M42, E5, E7
    world.status.listeners[3] = listener("internal", "0.0.0.0", 1099, "http", "internal")
    world.status.listeners[3].restriction, world.status.listeners[3].list = "grant", "components"
    world.status.listeners[4] = listener("ops", "127.0.0.1", 9180, "http", "ops")
    local body = browser.get("/hub/ports").body
    for _, text in ipairs { "TCP 8080<", "everybody", "lists/components.list", "TCP 1099, from that list",
      "this machine only", "calls between components" } do
      assert.truthy(body:find(text, 1, true), text)
    end
    assert.is_nil(body:find("TCP 9180", 1, true))
    assert.is_nil(body:find("lets everybody in", 1, true))
    for i = 1, 2 do world.status.listeners[i].address = "127.0.0.1" end
    assert.truthy(browser.get("/hub/ports").body:find("No socket with the tracker lets everybody in", 1, true)) -- M43
  end)

  describe("self-test", function() -- M43
    local function run(reply)
      world.call = function(rq) return reply(rq) end
      return browser.post("/hub/lui/urls/test", { csrf = browser.csrf("/hub/lui/urls") }).body
    end
    before_each(function() save { tracking = "http://news.example.org:8080" } end)
    it("knows its own tracker by the redirect that only its keys allow", function()
      local body = run(function(rq)
        local target = rq.url:match("%?u=(.*)$"):gsub("%%(%x%x)", function(x) return string.char(tonumber(x, 16)) end)
        return { status = 302, headers = { location = target }, body = "" }
      end)
      assert.truthy(body:find("the tracker of this installation answered", 1, true))
      assert.truthy(world.calls[#world.calls].url:find("^http://news.example.org:8080/trk/c/TOKEN1%?u=https%%3A%%2F%%2Fself%-test.invalid"))
      assert.equal("off", world.sealed[1].level) -- nothing is recorded
    end)
    it("says who answered instead, or why nobody did", function()
      assert.truthy(run(function() return { status = 404, headers = { server = "nginx/1.22" }, body = "" } end):find(
        "status 404, Server: nginx/1.22", 1, true))
      assert.truthy(run(function() return { status = 302, headers = { location = "https://elsewhere" }, body = "" } end):find(
        "something else answered", 1, true))
      assert.truthy(run(function() return nil, "Connection refused" end):find("nobody answered: Connection refused", 1, true))
    end)
  end)
end)
