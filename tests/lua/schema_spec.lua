-- What pages know of the entries of listeners.ini, and what the supervisor lets them change.
local schema = require "portreeve.schema"
local said = require "portreeve.schema_words"
local entries, keyed = schema.sections["listeners.ini"], schema.keyed["listeners.ini"]

-- The strings of an array of src/super/edit.c.
local function list_of(name)
  local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
  local file = assert(io.open(folder .. "../../src/super/edit.c"))
  local body = file:read("a"):match(name .. "%[%] = (%b{})")
  file:close()
  local out = {}
  for word in body:gmatch('"([^"]+)"') do out[word] = true end
  return out
end

describe("the entries of listeners.ini", function()
  it("are all shown, once, in a group that there is", function()
    local groups, shown = {}, {}
    for _, g in ipairs(schema.groups) do groups[g.name] = true end
    for _, entry in ipairs(schema.shown) do
      assert.is_nil(shown[entry], entry)
      shown[entry] = true
    end
    for entry, spec in pairs(entries) do
      assert.is_true(shown[entry], entry)
      assert.is_true(groups[spec.group], entry .. " in " .. tostring(spec.group))
      assert.is_truthy(spec.label and spec.label ~= "", entry)
    end
    for entry, spec in pairs(keyed) do
      assert.is_true(shown[entry] and groups[spec.group], entry)
      assert.is_truthy(spec.keys and spec.label and spec.help, entry)
    end
  end)
  it("have words of their own", function()
    local described = {}
    for _, w in ipairs(said) do described[w[1]] = true end
    for entry in pairs(entries) do
      assert.is_true(described[entry], entry .. " is missing from schema_words.lua")
      assert.is_truthy(entries[entry].help, entry)
    end
  end)
  it("may be changed from a page exactly where the supervisor lets them", function()
    local may, described = list_of("listener_entries"), {}
    for _, w in ipairs(said) do described[w[1]] = true end
    for entry, spec in pairs(entries) do
      assert.equal(not spec.by_hand, may[entry] or false, entry .. ": lua/portreeve/schema.lua (by_hand) and src/super/edit.c differ")
    end
    for entry in pairs(may) do
      assert.is_true(entry == "*" or described[entry], entry)
    end
    local with_key = {}
    for entry in pairs(keyed) do with_key[entry .. "-"] = true end
    assert.same(with_key, list_of("keyed_entries"))
  end)
  it("name no file and show no secret", function()
    for entry, spec in pairs(entries) do
      if spec.kind == "path" or spec.kind == "secret" then assert.is_true(spec.by_hand, entry) end
    end
  end)
  it("are found with their keys", function()
    assert.equal(entries.Port, schema.of_listener "Port")
    assert.same({ keyed.Backend, "Backend", "*.example.org" }, { schema.of_listener "Backend-*.example.org" })
    assert.same({ keyed.Label, "Label", "site" }, { schema.of_listener "Label-site" })
    for _, text in ipairs { "port", "Label", "Label-", "Port-x", "", "-", "Backend.x" } do
      assert.is_nil(schema.of_listener(text), text)
    end
  end)
end)

describe("labels and backends with names", function()
  require("portreeve.sim").install()
  local rules = require "portreeve.rules"
  local function read(lines)
    local list = {}
    for i, e in ipairs(lines) do list[i] = { key = e[1], value = e[2], line = i } end
    return rules.build { ["listeners.ini"] = { display = "listeners.ini", entries = list } }
  end
  it("a row has the labels of its listener, but for those that it has itself (Q14)", function()
    local r, report = read { { "a.Port", "8000" }, { "a.Label-x", "1" }, { "a.Label-y", "2" }, { "a.2.Port", "8001" },
      { "a.2.Label-y", "3" }, { "a.2.Label-B", "4" } }
    assert.same({}, report.errors)
    assert.equal("x=1\ny=2", r.listeners[1].Labels.value)
    assert.equal("B=4\nx=1\ny=3", r.listeners[1].rows[1].Labels.value)
  end)
  it("a row that names a backend has all of its own", function()
    local r = read { { "a.Port", "8000" }, { "a.Services", "tls-tunnel" }, { "a.Backend-x.test", "127.0.0.1:1" }, { "a.2.Port", "8001" },
      { "a.2.Backend-y.test", "127.0.0.1:2" }, { "a.3.Port", "8002" } }
    local function keys(row)
      local out = {}
      for i, e in ipairs(row.keyed.Backend) do out[i] = e.key end
      return out
    end
    local a = r.listeners[1]
    assert.same({ { "x.test" }, { "y.test" }, { "x.test" } }, { keys(a), keys(a.rows[1]), keys(a.rows[2]) })
  end)
  it("refuses a name that is none, and a backend where there is no tunnel", function()
    local _, wrong = read { { "a.Port", "8000" }, { "a.Label-x y", "2" } }
    assert.is_truthy(wrong.errors[1]:find("the name of a label has letters, digits and _ only", 1, true))
    local _, report = read { { "http.Backend-x.test", "127.0.0.1:1" } }
    assert.is_truthy(report.errors[1]:find("listener http can be none", 1, true))
  end)
end)
