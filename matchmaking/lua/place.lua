-- Join or create: finds a room for a player and holds a seat in it, or makes a room.
-- KEYS  1 shards (hash: shard id -> url)        2 rooms of the type (set of room ids)
--       3 names of the type (hash: name -> room id)   4 epochs of the type (hash: name -> epoch; only grows)
-- ARGV  1 key prefix   2 room type   3 player id   4 shard id   5 seats
--       6 name, or ""  7 id for a new room         8 lease TTL ms   9 reservation TTL ms
-- Result  {"ok", room id, shard id, url, epoch, is new (0/1), name, reserved until ms} or {"full"} or {"unregistered"}
-- A room is a hash PREFIX:room:ID, there while its lease is alive (its TTL is the lease);
-- its seats are a sorted set PREFIX:seats:ID: player -> when the reservation ends in ms; once seated, 1e15 and
-- the time of that in ms.

local prefix, room_type, player, shard = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local seats, name, new_id = tonumber(ARGV[5]), ARGV[6], ARGV[7]
local lease_ms, hold_ms = tonumber(ARGV[8]), tonumber(ARGV[9])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('EXISTS', prefix .. ':shard:' .. shard) == 0 then
  return {'unregistered'}
end

local function taken(id)
  return redis.call('ZCOUNT', prefix .. ':seats:' .. id, '(' .. now, '+inf')
end

local function hold(id)
  local key = prefix .. ':seats:' .. id
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local score = redis.call('ZSCORE', key, player)
  if not (score and tonumber(score) >= 1e15) then
    redis.call('ZADD', key, now + hold_ms, player)
  end
  redis.call('PEXPIRE', key, math.max(lease_ms, hold_ms) * 2)
end

local function answer(id, is_new)
  local room = redis.call('HMGET', prefix .. ':room:' .. id, 'shard', 'epoch', 'name')
  hold(id)
  local url = redis.call('HGET', prefix .. ':shard:' .. room[1], 'url') or ''
  return {'ok', id, room[1], url, tonumber(room[2]), is_new, room[3], now + hold_ms}
end

local function make(epoch)
  redis.call('DEL', prefix .. ':seats:' .. new_id)
  local key = prefix .. ':room:' .. new_id
  redis.call('HSET', key, 'type', room_type, 'name', name, 'shard', shard, 'epoch', epoch, 'seats', seats)
  redis.call('PEXPIRE', key, lease_ms)
  redis.call('SADD', KEYS[2], new_id)
  return answer(new_id, 1)
end

local function is_live(id)
  local owner = redis.call('HGET', prefix .. ':room:' .. id, 'shard')
  return owner and redis.call('EXISTS', prefix .. ':shard:' .. owner) == 1
end

if name ~= '' then
  local id = redis.call('HGET', KEYS[3], name)
  if id and redis.call('EXISTS', prefix .. ':room:' .. id) == 1 then
    local mine = redis.call('ZSCORE', prefix .. ':seats:' .. id, player)
    local cap = tonumber(redis.call('HGET', prefix .. ':room:' .. id, 'seats'))
    if not mine and taken(id) >= cap then
      return {'full'}
    end
    return answer(id, 0)
  end
  local epoch = redis.call('HINCRBY', KEYS[4], name, 1)
  redis.call('HSET', KEYS[3], name, new_id)
  return make(epoch)
end

-- By type: an open room on the shard that was reached, else the fullest open one on a live shard.
local best, best_taken, best_here = nil, -1, false
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local room = redis.call('HMGET', prefix .. ':room:' .. id, 'shard', 'seats', 'name', 'state')
  if not room[1] then
    redis.call('SREM', KEYS[2], id)  -- its lease ran out
  elseif room[3] == '' and is_live(id) then
    local count, here = taken(id), room[1] == shard
    if count < tonumber(room[2]) and ((here and not best_here) or (here == best_here and count > best_taken)) then
      best, best_taken, best_here = id, count, here
    end
  end
end
if best then
  return answer(best, 0)
end
return make(1)
