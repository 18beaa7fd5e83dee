-- portreeve.urls: addresses in settings held against the sockets of a plan (M33, M37, M38, M39, M40).
require("portreeve.sim").install()
local fake = require "portreeve.fake"
local sim = require "portreeve.sim"
local urls = require "portreeve.urls"

local bind = sim.policy "policies/bind.lua"
local host = fake.host { "127.0.0.1", "192.0.2.1", "192.0.2.2", "::1", "2001:db8::1", "fe80::1%eth0" }

local function plan_of(entries, listeners, components)
  return bind(fake.rules { ["tomcat.ini"] = entries, ["listeners.ini"] = listeners or {},
    ["portreeve.ini"] = { { "Components", components or "tracker,ui,hub" } } }, host)
end

local function bound(url, plan, service)
  assert.is_nil(urls.unbound(url, plan, service))
end
local function unbound(pattern, url, plan, service)
  local why = urls.unbound(url, plan, service)
  assert.is_truthy(why, url .. " should not be bound")
  assert.is_truthy(why:find(pattern), why)
end

describe("parse", function()
  local function parsed(url) return { urls.parse(url) } end
  it("knows the standard ports, and a port that is typed (M40)", function()
    assert.same({ "http", "news.example.org", 80, "" }, parsed "http://News.example.org")
    assert.same({ "https", "news.example.org", 443, "/lui" }, parsed "https://news.example.org/lui")
    assert.same({ "http", "host", 8080, "/lui/" }, parsed "HTTP://host:8080/lui/")
    assert.same({ "https", "2001:db8::1", 8443, "/x" }, parsed "https://[2001:db8::1]:8443/x")
    assert.same({ "https", "2001:db8::1", 443, "" }, parsed "https://[2001:db8::1]")
  end)
  for _, bad in ipairs { "ftp://x", "news.example.org", "http://", "http:///x", "http://x:0", "http://x:65536", "http://x:80a",
    "http://::1/",
    "http://x:999999" } do
    it("refuses " .. bad, function()
      local scheme, why = urls.parse(bad)
      assert.is_nil(scheme)
      assert.is_string(why)
    end)
  end
end)

describe("unbound", function()
  it("is nil where the port is bound with the scheme (M33)", function()
    local p = plan_of { { "Port", "8080" } }
    bound("http://news.example.org:8080/lui", p, "ui")
    bound("http://news.example.org:8080", p)
  end)
  it("names the port that is not bound and those that are (M33, M38, M39, M40)", function()
    local p = plan_of { { "Port", "8080" } }
    for _, service in ipairs { "ui", "tracker", "hub" } do
      unbound("^no socket of this server has port 80; http for the " .. service .. " is on port 8080$", "http://news.example/", p, service)
    end
    unbound("no socket with https", "https://news.example.org/", p)
  end)
  it("knows https and its standard port (M48)", function()
    local p = plan_of { { "SecureServer", "true" } }
    bound("https://news.example.org/lui", p, "ui")
    unbound("port 443 speaks https, and the address says http", "http://news.example.org:443/lui", p, "ui")
    unbound("no socket of this server has port 80", "http://news.example.org/lui", p, "ui")
    p = plan_of { { "SecureServer", "true" }, { "SecurePort", "8443" } }
    unbound("no socket of this server has port 443; https is on port 8443", "https://news.example.org", p)
  end)
  it("asks whether the socket serves what the address is for (M37)", function()
    local p = plan_of({ { "Port", "8080" } }, { { "t.Port", "8081" }, { "t.Services", "tracker" } })
    bound("http://x:8081", p, "tracker")
    unbound("port 8081 does not serve the ui; http for the ui is on port 8080", "http://x:8081/lui", p, "ui")
    unbound("port 1099 does not serve", "http://x:1099/", p, "hub")
  end)
  it("takes a TLS device in front for https (G22)", function()
    local front = { { "f.Port", "8081" }, { "f.InitTLS", "Ext" }, { "f.Restriction", "Grant" }, { "f.List", "device" } }
    bound("https://x:8081", plan_of({ { "Port", "8080" } }, front))
  end)
  it("compares addresses in figures, and localhost", function()
    local p = plan_of { { "BindAddress", "192.0.2.1:8080, [2001:db8::1]:8080" } }
    bound("http://192.0.2.1:8080", p)
    bound("http://[2001:DB8:0::1]:8080", p)
    bound("http://any.name.example:8080", p)
    unbound("port 8080 is bound on .*, not on 192.0.2.2", "http://192.0.2.2:8080", p)
    unbound("not on localhost", "http://localhost:8080", p)
    bound("http://localhost:8080", plan_of { { "BindAddress", "127.0.0.1:8080" } })
    bound("http://192.0.2.2", plan_of {})
    bound("http://[2001:db8::1]", plan_of {})
    unbound("not on ::1", "http://[::1]", plan_of { { "BindAddress", "OnlyIPV4Addresses" } })
    bound("http://[fe80::1]", plan_of { { "BindAddress", "[fe80::1]" } })
  end)
  it("reads the engine's status as well as a plan", function()
    local status = { listeners = { { address = "0.0.0.0", port = 8080, scheme = "http", external_tls = false, services = "tracker,ui" } } }
    bound("http://x:8080", status, "ui")
    unbound("does not serve the hub", "http://x:8080", status, "hub")
    unbound("no socket with https", "https://x", status)
  end)
  it("says what is wrong with an address that is none", function()
    unbound("^nonsense: it does not begin with http", "nonsense", plan_of {})
  end)
end)
