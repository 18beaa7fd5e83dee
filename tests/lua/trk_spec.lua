-- TRK Settings → General Administration: the communications port (M56, M57).
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local trusted = dofile(folder .. "trusted.lua")

describe("TRK Settings → General Administration", function()
  local world, browser, asked, result

  local function start(entries)
    local list = {}
    for key, value in pairs(entries or {}) do list[#list + 1] = { key = key, value = value, line = 2 } end
    local conf = require("portreeve.rules").build {
      ["tracker.ini"] = { display = "conf/tracker.ini", entries = list },
      ["lui.ini"] = { display = "conf/lui.ini", entries = { { key = "TrackerCommunicationsPort", value = "7000", line = 9 } } },
    }
    browser = trusted.browser({ ["/hub"] = require("portreeve.hub").handler(conf) })
    trusted.log_in(world, browser)
  end
  local function put(port, more)
    local fields = { csrf = browser.csrf("/hub/trk/general"), port = port }
    for k, v in pairs(more or {}) do fields[k] = v end
    return browser.post("/hub/trk/general", fields)
  end

  before_each(function()
    world = trusted.install { status = { version = "0.1.0", listeners = { { name = "communications", address = "0.0.0.0", port = 7000.0,
      state = "accepting connections on 0.0.0.0:7000", because = { file = "", line = 0, entry = "CommunicationsPort", row = "",
        policy = "policies/bind.lua:193" } } } } }
    asked, result = {}, { true, "communications: 0.0.0.0:7100 opens" }
    package.loaded["portreeve.engine"].edit = function(edits, how)
      asked[#asked + 1] = { edits = edits, dry = how.dry }
      return table.unpack(result)
    end
  end)
  after_each(function() world.finish() end)

  it("shows the port, what is bound, and a ui that would not follow", function()
    start()
    local body = browser.get("/hub/trk/general").body
    for _, text in ipairs { 'value="7000"', "accepting connections on 0.0.0.0:7000", "built-in default", "conf/lui.ini:9",
      "TRK Settings" } do
      assert.truthy(body:find(text, 1, true), text)
    end
  end)
  it("tries a new port, shows what it does, and puts it in force", function() -- M56, M57
    start { CommunicationsPort = "7001" }
    local answer = put "7100"
    assert.truthy(answer.body:find("0.0.0.0:7100 opens", 1, true))
    assert.truthy(answer.body:find("CommunicationsPort: 7001 → 7100", 1, true))
    answer = put("7100", { step = "apply" })
    assert.equal("/hub/trk/general?done=port", answer.headers.Location)
    assert.same({ { edits = { { file = "tracker.ini", entry = "CommunicationsPort", value = "7100" } }, dry = true },
      { edits = { { file = "tracker.ini", entry = "CommunicationsPort", value = "7100" } }, dry = false } }, asked)
  end)
  it("does nothing for the port it has already", function() -- M57
    start()
    assert.truthy(put(" 7000 ").body:find("nothing to change", 1, true))
    assert.same({}, asked)
  end)
  it("refuses what is no port, without asking anybody", function() -- M56
    start()
    for _, port in ipairs { "0", "65536", "70a", "-1", "", "0x50" } do
      local answer = put(port)
      assert.equal(422, answer.status)
      assert.truthy(answer.body:find("The port stays 7000", 1, true))
    end
    assert.same({}, asked)
  end)
  it("says why the gate refuses, and keeps the old port", function() -- M57
    start()
    result = { false, "conf/tracker.ini:2: CommunicationsPort=1099: already taken by conf/hub.ini: RMIPort" }
    local answer = put "1099"
    assert.equal(422, answer.status)
    assert.truthy(answer.body:find("already taken by conf/hub.ini", 1, true))
    assert.truthy(answer.body:find("The port stays 7000", 1, true))
    assert.truthy(answer.body:find('value="1099"', 1, true))
  end)
end)
