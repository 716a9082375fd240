// Draws ships and bullets as primitives, which are used again.

using System.Collections.Generic;
using UnityEngine;

namespace Tickwire.Samples
{
    /// <summary>One object for each entity. Call Begin, then Show for each of them, then End.</summary>
    public sealed class ArenaView
    {
        private readonly Transform parent;
        private readonly Dictionary<uint, GameObject> shown = new Dictionary<uint, GameObject>();
        private readonly HashSet<uint> seen = new HashSet<uint>();
        private readonly List<uint> gone = new List<uint>();

        public ArenaView(Transform parent)
        {
            this.parent = parent;
        }

        public void Begin()
        {
            seen.Clear();
        }

        public void ShowShip(uint id, double x, double y, double heading, bool isOwn)
        {
            Show(id, PrimitiveType.Cube, isOwn ? Color.blue : Color.gray, 12).SetPositionAndRotation(
                new Vector3((float)x, (float)y, 0), Quaternion.Euler(0, 0, (float)heading * Mathf.Rad2Deg));
        }

        public void ShowBullet(uint id, double x, double y)
        {
            Show(id, PrimitiveType.Sphere, Color.yellow, 4).SetPositionAndRotation(
                new Vector3((float)x, (float)y, 0), Quaternion.identity);
        }

        public void End()
        {
            gone.Clear();
            foreach (uint id in shown.Keys)
            {
                if (!seen.Contains(id))
                {
                    gone.Add(id);
                }
            }

            foreach (uint id in gone)
            {
                Object.Destroy(shown[id]);
                shown.Remove(id);
            }
        }

        private Transform Show(uint id, PrimitiveType type, Color color, float size)
        {
            seen.Add(id);
            GameObject found;
            if (!shown.TryGetValue(id, out found))
            {
                found = GameObject.CreatePrimitive(type);
                found.GetComponent<Renderer>().material.color = color;
                found.transform.SetParent(parent);
                found.transform.localScale = Vector3.one * size;
                shown[id] = found;
            }

            return found.transform;
        }
    }
}
