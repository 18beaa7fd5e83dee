-- LUI Settings → System Database Status (M60–M63): what the page takes, shows and hides. With a real server: tests/e2e/test_database.py.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local trusted = dofile(folder .. "trusted.lua")
local cjson = require "cjson"

describe("System Database Status", function()
  local world, browser
  local MYSQL = "MySQL ConnectorJ Database Plugin"
  local mine = { plugin = MYSQL, name = "LUI", user = "luiuser", password = "s3cret!", host = "localhost", port = "1", ssl = "Off" }

  before_each(function()
    world = trusted.install { status = { version = "0.1.0", listeners = {} } }
    browser = trusted.browser({ ["/hub"] = require("portreeve.hub").handler(require("portreeve.rules").build {}) })
    trusted.log_in(world, browser)
  end)
  after_each(function() world.finish() end)

  local function put(over)
    local fields = { csrf = browser.csrf("/hub/lui/database"), ["do"] = "use" }
    for _, from in ipairs { mine, over or {} } do
      for k, v in pairs(from) do fields[k] = v end
    end
    return browser.post("/hub/lui/database", fields)
  end
  local function stored()
    local db = require("portreeve.web.places").system(world.state).db
    local row = require("portreeve.db.databases").new(db):get()
    db:close()
    return row
  end
  local function ask(status)
    world.call = function() return status and { status = 200, headers = {}, body = cjson.encode { components = { ui = status } } } or nil,
      "Connection refused" end
    browser.post("/hub/lui/database/check", { csrf = browser.csrf("/hub/lui/database") })
    return browser.get("/hub/lui/database").body
  end

  it("offers the values of M62 and the internal database", function() -- M62
    local body = browser.get("/hub/lui/database").body
    for _, text in ipairs { 'value="LUI"', 'value="luiuser"', 'value="localhost"', 'value="3306"', MYSQL, "Internal Database (SQLite)",
      "Not asked yet" } do
      assert.truthy(body:find(text, 1, true), text)
    end
  end)
  it("says what the ui says: OK, Connection Failure, or nothing", function() -- M60
    assert.truthy(ask { database = { ok = true, version = "3.40.1", place = "ui.db", ms = 1 } }:find(">OK<", 1, true))
    local body = ask { database = { ok = false, fault = "Can't connect to <server>", place = "LUI at localhost:3307" } }
    assert.truthy(body:find("Connection Failure", 1, true))
    assert.truthy(body:find("Can&#39;t connect to &lt;server&gt;", 1, true))
    body = ask(nil)
    assert.truthy(body:find("The ui does not answer: Connection refused", 1, true))
  end)
  it("keeps a description, and a password that is not typed again", function() -- M61
    assert.equal(303, put().status)
    assert.same({ MYSQL, "LUI", "luiuser", "s3cret!", "localhost", 1 }, { stored().plugin, stored().name, stored().user, stored().password,
      stored().host, stored().port })
    put { password = "", name = "OTHER" }
    assert.same({ "s3cret!", "OTHER" }, { stored().password, stored().name })
    assert.is_nil(browser.get("/hub/lui/database").body:find("s3cret", 1, true))
    local db = require("portreeve.db.handle").new { name = world.state .. "/db/system.db" }
    local rows = assert(db:rows("SELECT detail FROM audit WHERE what = 'system database'"))
    db:close()
    assert.equal(2, #rows)
    for _, r in ipairs(rows) do assert.is_nil(r.detail:find("s3cret", 1, true)) end
  end)
  it("keeps the password for the server and user that it was given for", function()
    put()
    for field, value in pairs { port = "3307", host = "db.example.org", user = "root" } do
      local answer = put { password = "", [field] = value }
      assert.equal(422, answer.status, field)
      assert.truthy(answer.body:find("type the password again", 1, true))
      assert.same({ "s3cret!", "localhost", 1 }, { stored().password, stored().host, stored().port })
    end
    put { password = "", host = "db.example.org", plugin = "Internal Database (SQLite)" }
    assert.equal("", stored().password)
  end)
  it("refuses what cannot be one, and stores nothing of it", function()
    for field, value in pairs { port = "0", name = "", user = "", host = "", ssl = "On" } do
      local answer = put { [field] = value }
      assert.equal(422, answer.status, field)
      assert.is_nil(answer.body:find("s3cret", 1, true))
    end
    assert.is_false(stored())
  end)
  it("tests without storing", function()
    assert.truthy(put({ ["do"] = "test" }).body:find("Connection Failure", 1, true)) -- nobody listens on port 1
    assert.is_false(stored())
    assert.equal(403, browser.post("/hub/lui/database", mine).status)
  end)
  it("tells the ui's handle at its next turn, and goes back to the file", function() -- M63
    local db = require("portreeve.web.places").ui(world.state)
    assert.is_true(db:ensure())
    assert.equal("SQLite3", db.dialect.name)
    put()
    assert.is_nil((db:ensure()))
    assert.equal("MySQL", db.dialect.name)
    assert.is_nil((db:rows("SELECT 1")))
    put { plugin = "Internal Database (SQLite)" }
    assert.is_true(db:ensure())
    assert.equal("SQLite3", db.dialect.name)
    db:close()
  end)
  it("does not call a server that refuses us at every turn, but one that is described anew at once", function() -- M63
    put()
    local mysql, calls = require("portreeve.db.dialect").MySQL, 0
    local real = mysql.connect
    function mysql.connect()
      calls = calls + 1
      return nil, "Access denied"
    end
    local db = require("portreeve.web.places").ui(world.state)
    for _ = 1, 200 do
      local ok, why = db:ensure()
      assert.is_nil(ok)
      assert.truthy(why:find("Access denied", 1, true))
    end
    assert.truthy(calls >= 1 and calls < 10, calls .. " calls")
    local before = calls
    put { password = "another" }
    db:ensure()
    assert.equal(before + 1, calls)
    mysql.connect = real
    db:close()
  end)
end)
