-- The communications port of a tracker on another server: the hub keeps the wish until it is handed over (M57).
local cjson = require "cjson"
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local trusted = dofile(folder .. "trusted.lua")

describe("the wish for another communications port", function()
  local world, commport, accounts, asked, answer
  local conf = { lui = { TrackerHost = { value = "192.0.2.9", file = "lui.ini", line = 1 } }, tracker = { RMIPort = { value = 1199 } } }
  local function never() return false end
  local function call(rq)
    asked[#asked + 1] = rq
    return table.unpack(answer)
  end

  before_each(function()
    world = trusted.install { status = { version = "0.1.0", components = "ui,hub", listeners = {} } }
    commport = require "portreeve.hub.commport"
    accounts = require("portreeve.web.places").system(world.state)
    accounts.db:ensure()
    asked, answer = {}, { nil, "not reachable" }
  end)
  after_each(function()
    accounts.db:close()
    world.finish()
  end)
  local function wish(port)
    return commport.wish { conf = conf, engine = package.loaded["portreeve.engine"], accounts = accounts, account = "ada", address = "::1",
      port = port, call = call }
  end
  local function deliver()
    return commport.deliver(conf, package.loaded["portreeve.engine"], accounts, call, never)
  end

  it("is for a tracker that is not here", function()
    assert.is_true(commport.remote(package.loaded["portreeve.engine"]))
    world.status.components = "tracker,ui,hub"
    assert.is_false(commport.remote(package.loaded["portreeve.engine"]))
    assert.is_nil((deliver()))
    assert.same({}, asked)
  end)
  it("is handed over at once where the tracker answers", function()
    answer = { { status = 200, body = '{"text":"in force"}', headers = {} } }
    assert.same({ "done", "in force" }, { wish(7001) })
    assert.equal("http://192.0.2.9:1199/internal/communications-port", asked[1].url)
    assert.same({ port = "7001", who = "ada at ::1, in another server's hub" }, cjson.decode(asked[1].body))
    assert.equal("application/json", asked[1].headers["Content-Type"])
    assert.is_false(commport.state(accounts))
    assert.is_nil((deliver()))
    assert.equal(1, #asked)
  end)
  it("is kept while the tracker is down, and delivered when it is back", function()
    assert.same({ "kept", "not reachable" }, { wish(7001) })
    assert.equal("not reachable", commport.state(accounts).fault)
    assert.equal("kept", (deliver()))
    answer = { { status = 503, body = "", headers = {} } }
    assert.equal("kept", (deliver()))
    answer = { { status = 200, body = '{"text":"in force"}', headers = {} } }
    assert.equal("done", (deliver()))
    assert.is_false(commport.state(accounts))
  end)
  it("that is refused is not asked for again; the reason stays to be read", function()
    answer = { { status = 409, body = '{"text":"port taken by nginx"}', headers = {} } }
    assert.same({ "refused", "port taken by nginx" }, { wish(80) })
    local s = commport.state(accounts)
    assert.same({ true, "port taken by nginx", "80" }, { s.refused, s.fault, s.value })
    assert.is_nil((deliver()))
    assert.equal(1, #asked)
  end)
  it("is replaced by a newer one", function()
    wish(7001)
    wish(7002)
    assert.equal("7002", commport.state(accounts).value)
    answer = { { status = 200, body = "{}", headers = {} } }
    assert.equal("done", (deliver()))
    assert.equal("7002", cjson.decode(asked[3].body).port)
  end)
end)
