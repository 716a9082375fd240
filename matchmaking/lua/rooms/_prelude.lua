-- The prelude of all scripts on rooms: script_runner.py puts it before each of them.
-- ARGV  1 the prefix of all keys, which contains the hash tag   2 the request, a msgpack map
--
-- KEYS[1] names the slot. The scripts create all other keys from the prefix, so they are in the same slot:
--   PREFIX:epoch                  the last epoch of a lease; only grows. Epochs follow the clock, so that they keep
--                                 growing if this key is lost
--   PREFIX:recovering             TTL: Redis was emptied and the fleet registers again; new names are refused
--   PREFIX:shards                 sorted set: shard -> its last heartbeat, ms
--   PREFIX:shard:ID               hash, TTL: the entry of a shard
--   PREFIX:hosts:REGION:TYPE      sorted set, TTL: ready shards, by id; scripts remove failed shards from it
--   PREFIX:owned:SHARD            hash, TTL: room -> its labels, joined by commas
--   PREFIX:room:ID                hash, exists while the lease is valid: its TTL is the lease
--   PREFIX:seats:ID               sorted set, TTL: player -> end of the reservation, ms; once seated, SEATED + since
--   PREFIX:name:TYPE:NAME         hash, TTL: id (until the room is released), epoch
--   PREFIX:moved:ID               TTL: the epoch under which a room got its last owner; only for rooms with several
--   PREFIX:drain:SHARD            TTL: an operator has requested that the shard drains
--   PREFIX:handover:ROOM          hash, TTL, and PREFIX:offers:SHARD: the handover of a room (handover.lua)
--   PREFIX:session_handoff:NAME   TTL: a session on its way to another shard (session_handoff.lua)
--   PREFIX:session_taker:NAME     TTL: the shard that has taken it
--   PREFIX:code:CODE              TTL: the room that a code opens
--   PREFIX:party:TYPE:CODE        TTL: the room that reserves seats for a party
--   PREFIX:party_members:TYPE:CODE   set, TTL: the players who have had a seat of the party
--   PREFIX:open:REGION:TYPE       sorted set, TTL: open room -> free seats; the same for a shard and a label:
--   PREFIX:here:SHARD:TYPE        PREFIX:with:REGION:TYPE:KEY=VALUE
--   PREFIX:held:REGION:TYPE       sorted set, TTL: room that only reservations fill -> the end of the first one, ms

local prefix, request = ARGV[1], cmsgpack.unpack(ARGV[2])
local SEATED = 1e15
local ROOM_LOAD = 0.001             -- a room's assumed share of the tick interval until it is measured
local NAME_MS = 24 * 3600 * 1000   -- how long the epoch of a name is kept after its last room
local OWNED_MS = 3600 * 1000       -- the TTL of the set of shards and of their rooms
local INDEX_MS = 60 * 1000         -- the TTL of indexes; renewed with the leases of the rooms in them
local SILENT_MS = 3000             -- a shard that has missed its heartbeats, one a second, has probably failed

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function key(kind, ...)
  return prefix .. ':' .. kind .. ':' .. table.concat({...}, ':')
end

local function reply(values)
  return cmsgpack.pack(values)
end

local shards = {}  -- cache; scripts change only values of shards that they do not read again

local function get_shard(id)
  if shards[id] ~= nil then
    return shards[id]
  end
  shards[id] = false
  local found = redis.call('HMGET', key('shard', id), 'state', 'url', 'region', 'load', 'players', 'rooms', 'rooms_max',
    'load_max', 'build', 'room_load')
  if not found[1] then
    return false
  end
  shards[id] = {
    id = id, is_ready = found[1] == 'ready', url = found[2], region = found[3], load = tonumber(found[4]),
    players = tonumber(found[5]), rooms = tonumber(found[6]), rooms_max = tonumber(found[7]),
    load_max = tonumber(found[8]), build = found[9], room_load = tonumber(found[10]),
    is_silent = now - tonumber(redis.call('ZSCORE', prefix .. ':shards', id) or 0) >= SILENT_MS,
  }
  return shards[id]
end

-- Returns whether the requesting shard has replaced another one: it runs at the same address, under another id. A
-- Redirect to the other one would lead clients in a circle.
local function is_replaced(shard, here)
  return here and shard.id ~= here.id and shard.url == here.url
end

local function get_room(id)
  local found = redis.call('HMGET', key('room', id), 'type', 'name', 'shard', 'epoch', 'seats', 'access', 'code',
    'labels', 'region')
  if not found[1] then
    return nil
  end
  return {
    id = id, type = found[1], name = found[2], shard = found[3], epoch = tonumber(found[4]),
    seats = tonumber(found[5]), access = found[6], code = found[7], labels = found[8], region = found[9],
  }
end

local function is_owner(room, shard, epoch)
  return room and room.shard == shard and room.epoch == epoch
end

-- Returns an epoch greater than all before, if either the counter or the clock is right: microseconds since 1970, or
-- one more than the last epoch. Lua's numbers represent them exactly until the year 2255.
local function next_epoch(min_epoch)
  local counter = prefix .. ':epoch'
  local last = math.max(tonumber(redis.call('GET', counter) or 0), min_epoch or 0)
  local epoch = math.max(last + 1, now_us)
  redis.call('SET', counter, string.format('%.0f', epoch))
  return epoch
end

-- Returns the number of seats that are taken or reserved now.
local function count_taken(id)
  return redis.call('ZCOUNT', key('seats', id), '(' .. now, '+inf')
end

local function indexes(room)
  local keys = {key('open', room.region, room.type), key('here', room.shard, room.type)}
  for label in string.gmatch(room.labels, '[^,]+') do
    keys[#keys + 1] = key('with', room.region, room.type, label)
  end
  return keys
end

local function unindex(room)
  for _, index in ipairs(indexes(room)) do
    redis.call('ZREM', index, room.id)
  end
  redis.call('ZREM', key('held', room.region, room.type), room.id)
end

-- Updates the indexes for a room: it is in them while it is open and has a free seat.
local function index(room, does_renew)
  local shard = get_shard(room.shard)
  if room.access ~= 'open' or room.name ~= '' or not shard or not shard.is_ready then
    return unindex(room)
  end
  local free = room.seats - count_taken(room.id)
  local held = key('held', room.region, room.type)
  if free > 0 then
    for _, key in ipairs(indexes(room)) do
      local is_new = redis.call('ZADD', key, free, room.id) == 1
      if is_new or does_renew then
        redis.call('PEXPIRE', key, INDEX_MS)
        redis.call('ZREM', held, room.id)
      end
    end
    return
  end
  unindex(room)
  local first = redis.call('ZRANGEBYSCORE', key('seats', room.id), '(' .. now, '(' .. SEATED, 'WITHSCORES',
    'LIMIT', 0, 1)
  if first[2] then
    redis.call('ZADD', held, first[2], room.id)
    redis.call('PEXPIRE', held, INDEX_MS)
  end
end

-- Writes the record of a room and renews its lease.
local function write_lease(room, ms)
  local record = key('room', room.id)
  redis.call('HSET', record, 'type', room.type, 'name', room.name, 'shard', room.shard, 'epoch', room.epoch,
    'seats', room.seats, 'access', room.access, 'code', room.code, 'labels', room.labels, 'region', room.region,
    'build', room.build or '')
  redis.call('PEXPIRE', record, ms)
  redis.call('PEXPIRE', key('seats', room.id), ms * 2)
  if room.name ~= '' then
    local name = key('name', room.type, room.name)
    redis.call('HSET', name, 'id', room.id, 'epoch', room.epoch)
    redis.call('PEXPIRE', name, NAME_MS)
  end
  if room.code ~= '' then
    redis.call('SET', key('code', room.code), room.id, 'PX', ms * 2)
  end
  local owned = key('owned', room.shard)
  redis.call('HSET', owned, room.id, room.labels)
  redis.call('PEXPIRE', owned, OWNED_MS)
end

-- Sets the owner of a room under a new epoch. The owner may be the same.
local function set_owner(room, shard, ms, min_epoch)
  unindex(room)
  redis.call('HDEL', key('owned', room.shard), room.id)
  room.shard, room.region, room.build = shard.id, shard.region, shard.build
  room.epoch = next_epoch(min_epoch)
  -- The previous owner is refused even after the new lease has ended.
  redis.call('SET', key('moved', room.id), room.epoch, 'PX', NAME_MS)
  write_lease(room, ms)
  index(room)
end

-- Deletes the record of a room. The epoch of its name remains, so that an older owner is refused.
local function delete_room(room)
  unindex(room)
  redis.call('DEL', key('room', room.id), key('seats', room.id))
  redis.call('HDEL', key('owned', room.shard), room.id)
  if room.code ~= '' and redis.call('GET', key('code', room.code)) == room.id then
    redis.call('DEL', key('code', room.code))
  end
  local name = key('name', room.type, room.name)
  if room.name ~= '' and redis.call('HGET', name, 'id') == room.id then
    redis.call('HDEL', name, 'id')
  end
end
