-- The prelude of all scripts on presence: script_runner.py puts it before each of them.
-- ARGV  1 the prefix of all keys, which contains the hash tag of a partition   2 the request, a msgpack map
--
-- Players are divided among a fixed number of partitions by a hash of their ids (presence.py). A script works on the
-- players of one partition. KEYS[1] names the slot; all other keys have a TTL:
--   PREFIX:shard:ID       exists while the shard renews it once a second. Without it, the records of the shard do not
--                         count: the shard has failed, or Redis was emptied. Only renew.lua sets it, which then reports
--                         that it was missing, so that the shard restores all of its records
--   PREFIX:player:ID      the record of a player's session, packed
--   PREFIX:inbox:SHARD    sorted set: packed notice -> its number; kept until the shard acknowledges the number
--   PREFIX:notice_seq     the last number of a notice; follows the clock, so that it keeps growing if it is lost
--
-- A record is an array: shard_id, session_id, opened_us, generation, is_connected, room_id, room_type,
-- previous_session_id. A shard encodes it, so a renewal that changes nothing compares bytes and unpacks nothing.
-- A notice is an array: number, kind, player_id, session_id, text, forwards.
--
-- Of two sessions of a player, the one that was opened last stays: `opened_us` orders them, and the id breaks a tie.
-- Of two copies of one session, the one with the newest connection stays: `generation` counts its connections.

local prefix, request = ARGV[1], cmsgpack.unpack(ARGV[2])
local INBOX_MS = 60 * 1000          -- the time for a shard to read its notices
local INBOX_NOTICES_MAX = 1000      -- further notices are refused; renewals find what they would have reported
local SEQ_MS = 24 * 3600 * 1000

local SHARD, SESSION, OPENED, GENERATION, CONNECTED = 1, 2, 3, 4, 5

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]

local function key(kind, id)
  return prefix .. ':' .. kind .. ':' .. id
end

local function reply(values)
  return cmsgpack.pack(values)
end

local alive = {}  -- cache

local function is_alive(shard)
  if alive[shard] == nil then
    alive[shard] = redis.call('EXISTS', key('shard', shard)) == 1
  end
  return alive[shard]
end

-- Returns the record of a player, or nil.
local function get_record(player)
  local packed = redis.call('GET', key('player', player))
  local found = packed and cmsgpack.unpack(packed)
  return found and is_alive(found[SHARD]) and found or nil
end

-- Returns whether a session was opened after another one.
local function is_later(mine, other)
  if mine[OPENED] ~= other[OPENED] then
    return mine[OPENED] > other[OPENED]
  end
  return mine[SESSION] > other[SESSION]
end

-- Adds a notice to the inbox of a shard, and wakes the shard. Returns whether there was space.
local function push_notice(shard, kind, player, session, text, forwards)
  local inbox = key('inbox', shard)
  if redis.call('ZCARD', inbox) >= INBOX_NOTICES_MAX then
    return false
  end
  local seq = prefix .. ':notice_seq'
  local number = math.max(tonumber(redis.call('GET', seq) or 0) + 1, now_us)
  redis.call('SET', seq, string.format('%.0f', number), 'PX', SEQ_MS)
  redis.call('ZADD', inbox, string.format('%.0f', number),
    cmsgpack.pack({number, kind, player, session, text, forwards}))
  redis.call('PEXPIRE', inbox, INBOX_MS)
  -- Without the permission to publish, the shard reads the notice within a second.
  redis.pcall('PUBLISH', key('wake', shard), '')
  return true
end
